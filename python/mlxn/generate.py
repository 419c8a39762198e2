# SPDX-License-Identifier: Apache-2.0
"""load, generate and stream_generate, with mlx_lm's argument names."""
import os
import queue
import resource
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Callable, Iterator, Sequence

from ._mlxn import Checkpoint, Device, GenerateOptions, Model, RawTokenizer, SamplingParams, Session, resolve_model_path
from .arrays import device as shared_device
from .errors import ContextFullError, refusal
from .tokenizer import Tokenizer


def load(path_or_hf_repo: str, *, device: str | Device = "best", max_kv_size: int | None = None, kv_type: str = "f16",
         kv_type_v: str | None = None, kv_norm_correction: bool = False, batch: int = 1, prefill_step_size: int = 512,
         prepare: bool = True) -> tuple[Model, Tokenizer]:
    """Model and tokenizer of an MLX or Hugging Face directory, a .gguf file or an id in the local Hugging Face cache.
    max_kv_size: tokens that prompt and reply may hold; by default what the model was trained for, at most 8192.
    kv_norm_correction: norms of codes are lengthened by what rounding to levels takes from a row."""
    home = os.environ.get("HF_HOME", os.path.expanduser("~/.cache/huggingface"))
    path = resolve_model_path(os.fspath(path_or_hf_repo), os.environ.get("HF_HUB_CACHE", home))
    checkpoint = Checkpoint.open(path)
    on = shared_device(device) if isinstance(device, str) else device
    model = Model.load(on, checkpoint, max_context=max_kv_size or 0, batch=batch, kv_type=kv_type, kv_type_v=kv_type_v,
                       kv_norm_correction=kv_norm_correction, prefill_chunk=prefill_step_size, prepare=prepare)
    return model, Tokenizer(RawTokenizer.from_checkpoint(checkpoint))


def make_sampler(temp: float = 0.0, top_p: float = 1.0, min_p: float = 0.0, top_k: int = 0, *, seed: int = 0,
                 repetition_penalty: float = 1.0, repetition_context_size: int = 64, presence_penalty: float = 0.0,
                 frequency_penalty: float = 0.0) -> SamplingParams:
    """How tokens are drawn; temp 0 takes the most likely one. top_k 0, top_p 1 and min_p 0 are off."""
    p = SamplingParams()
    p.temperature, p.top_p, p.min_p, p.top_k, p.seed = temp, top_p or 1.0, min_p, top_k, seed
    p.repetition_penalty, p.penalty_window = repetition_penalty, repetition_context_size
    p.presence_penalty, p.frequency_penalty = presence_penalty, frequency_penalty
    return p


@dataclass
class PromptCache:
    """A conversation: its tokens, and who knows which of them the model's caches hold. A prompt given with it goes on
    from there and costs only its own tokens."""

    tokens: list[int] = field(default_factory=list)
    session: Session | None = None


def make_prompt_cache(model: Model) -> PromptCache:
    """An empty conversation with a model."""
    return PromptCache()


@dataclass
class GenerationResponse:
    """A piece of a reply. Rates are tokens per second, peak_memory is GB of the process."""

    text: str
    token: int
    logprob: float
    top_logprobs: list[tuple[int, float]]
    prompt_tokens: int
    prompt_tps: float
    generation_tokens: int
    generation_tps: float
    peak_memory: float
    finish_reason: str | None = None  # of the last piece: eos, stop, length, context_full


def _peak_gb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 * (1 if sys.platform == "darwin" else 1024)


def _prepare(model, tokenizer, prompts, max_tokens, sampler, prompt_cache, max_kv_size, stop, ignore_eos, logprobs, sampling):
    """Session, token ids of each prompt, options."""
    if sampler is not None and sampling:
        raise TypeError(f"sampler: found together with {', '.join(sampling)}, required one of the two")
    cache = prompt_cache or PromptCache()
    ids = [cache.tokens + (tokenizer.encode(p, add_special_tokens=not cache.tokens) if isinstance(p, str) else [int(t) for t in p])
           for p in prompts]
    longest = max(map(len, ids), default=0)
    if max_kv_size and longest > max_kv_size:
        raise refusal(ContextFullError, "generate", "prompt", f"{longest} tokens", f"at most {max_kv_size}")
    options = GenerateOptions()
    options.max_tokens = min(max_tokens, max_kv_size - longest) if max_kv_size else max_tokens
    options.sampling, options.stop = sampler or make_sampler(**sampling), list(stop)
    options.ignore_eos, options.logprobs, options.reuse_cache = ignore_eos, logprobs, prompt_cache is not None
    cache.session = cache.session or Session(model, tokenizer.raw)
    return cache.session, ids, options


def generate(model: Model, tokenizer: Tokenizer, prompt: str | Sequence[int], *, max_tokens: int = 256, verbose: bool = False,
             sampler: SamplingParams | None = None, prompt_cache: PromptCache | None = None, max_kv_size: int | None = None,
             stop: Sequence[str] = (), ignore_eos: bool = False,
             prompt_progress_callback: Callable[[int, int], None] | None = None, **sampling) -> str:
    """The reply to a prompt, text or token ids. Instead of a sampler, make_sampler's arguments (temp, top_p, ..)."""
    session, ids, options = _prepare(model, tokenizer, [prompt], max_tokens, sampler, prompt_cache, max_kv_size, stop,
                                     ignore_eos, -1, sampling)

    def show(sequence, token, text, logprob, top):
        print(text, end="", flush=True)
        return True

    [(text, tokens, _, _)] = session.run(ids, options, show if verbose else None, prompt_progress_callback)
    if prompt_cache is not None:
        prompt_cache.tokens = ids[0] + tokens
    if verbose:
        stats = session.stats
        print(f"\nPrompt: {stats['prompt_tokens']} tokens, {stats['prompt_tps']:.1f} tokens/s")
        print(f"Generation: {stats['generation_tokens']} tokens, {stats['generation_tps']:.1f} tokens/s")
    return text


def batch_generate(model: Model, tokenizer: Tokenizer, prompts: Sequence[str | Sequence[int]], *, max_tokens: int = 256,
                   sampler: SamplingParams | None = None, stop: Sequence[str] = (), ignore_eos: bool = False, **sampling) -> list[str]:
    """Replies to several prompts, as many at a time as the model was loaded for (`batch`)."""
    session, ids, options = _prepare(model, tokenizer, prompts, max_tokens, sampler, None, None, stop, ignore_eos, -1, sampling)
    return [result[0] for result in session.run(ids, options, None, None)]


def stream_generate(model: Model, tokenizer: Tokenizer, prompt: str | Sequence[int], *, max_tokens: int = 256,
                    sampler: SamplingParams | None = None, prompt_cache: PromptCache | None = None, max_kv_size: int | None = None,
                    stop: Sequence[str] = (), ignore_eos: bool = False, logprobs: int = 0,
                    prompt_progress_callback: Callable[[int, int], None] | None = None, **sampling) -> Iterator[GenerationResponse]:
    """generate() piece by piece, one for each token; the last one has finish_reason and the text that was held back.
    Work goes on in a thread, at most two tokens ahead of the caller, and stops when the iterator is closed."""
    session, ids, options = _prepare(model, tokenizer, [prompt], max_tokens, sampler, prompt_cache, max_kv_size, stop,
                                     ignore_eos, logprobs, sampling)
    events: queue.Queue = queue.Queue(maxsize=1)
    closed = threading.Event()

    def put(*event):
        while not closed.is_set():
            try:
                events.put(event, timeout=0.05)
                return True
            except queue.Full:
                pass
        return False

    def work():
        try:
            [(_, _, _, reason)] = session.run(ids, options, lambda _, *event: put(*event), prompt_progress_callback)
            put(reason)
        except BaseException as error:  # noqa: BLE001 - comes out of the iterator
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    tokens: list[int] = []
    rest, logprob, start, first = "", 0.0, time.perf_counter(), None
    try:
        while len(event := events.get()) > 1:
            now = time.perf_counter()
            first = first or now
            token, text, logprob, top = event
            if token < 0:
                rest = text
                continue
            tokens.append(token)
            rate = (len(tokens) - 1) / (now - first) if now > first else 0.0
            yield GenerationResponse(text, token, logprob, top, len(ids[0]), len(ids[0]) / (first - start), len(tokens), rate,
                                     _peak_gb())
        if isinstance(event[0], BaseException):
            raise event[0]
        stats = session.stats
        yield GenerationResponse(rest, tokens[-1] if tokens else -1, logprob, [], stats["prompt_tokens"], stats["prompt_tps"],
                                 stats["generation_tokens"], stats["generation_tps"], _peak_gb(), event[0])
    finally:
        closed.set()
        thread.join()
        if prompt_cache is not None:
            prompt_cache.tokens = ids[0] + tokens
