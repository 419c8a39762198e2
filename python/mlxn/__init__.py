# SPDX-License-Identifier: Apache-2.0
"""LLM inference on MLX and GGUF weights: models, generation, and the ops and formats they are made of."""
from . import errors, ops
from ._mlxn import (Buffer, Checkpoint, Device, Graph, KvCache, Model, ModelConfig, Perplexity, SamplingParams, Stream, TqRows,
                    Weight, quantize, version as __version__)
from .arrays import array, device
from .errors import *  # noqa: F403 - Error and its kinds
from .generate import (GenerationResponse, PromptCache, batch_generate, generate, load, make_prompt_cache, make_sampler,
                       stream_generate)
from .tokenizer import Tokenizer

__all__ = ["Buffer", "Checkpoint", "Device", "GenerationResponse", "Graph", "KvCache", "Model", "ModelConfig", "Perplexity",
           "PromptCache", "SamplingParams", "Stream", "Tokenizer", "TqRows", "Weight", "__version__", "array", "batch_generate",
           "device", "errors", "generate", "load", "make_prompt_cache", "make_sampler", "ops", "quantize", "stream_generate",
           *errors.__all__]
