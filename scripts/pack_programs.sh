#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Programs and the libraries that they need, for a machine without them:
#   scripts/pack_programs.sh FILE PROGRAM...     into FILE (.tar.xz), as gpu/PROGRAM and gpu/lib/*
#   scripts/pack_programs.sh --unpack FILE DIR   and out again; the programs want DIR/gpu/lib in LD_LIBRARY_PATH
set -euo pipefail

[ $# -ge 2 ] || { echo "pack_programs.sh: found $# arguments, required a file and programs" >&2; exit 2; }
if [ "$1" = --unpack ]; then
  mkdir -p "$3"
  tar -C "$3" -xJf "$2"
  exit
fi

pack=$(realpath -m "$1")
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/gpu/lib"
for program in "$@"; do
  strip -o "$scratch/gpu/$(basename "$program")" "$program"
  ldd "$program" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'
done | sort -u | { grep -vE '/(libc|libm|libdl|librt|libpthread)\.so|ld-linux' || true; } |
  xargs -r -I{} cp -L {} "$scratch/gpu/lib/"
# The programs have most bytes in common: a dictionary that spans them finds that.
tar -C "$scratch" -cf - gpu | xz --lzma2=preset=2,dict=192MiB >"$pack"
echo "pack_programs.sh: $# programs in $pack"
