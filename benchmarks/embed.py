"""Speed of the text encoder in texts per second, and the cost of its cache and of its small form for serving.

`python -m benchmarks.embed [--only speed gpu cache query forms memory quality] [--texts N]`, saved in
`benchmarks/results/embed.json`.
Texts are words drawn with a seed, their number log-normal around three means.

speed: texts per second of processor time on one thread, from texts to vectors, the best of three alternating rounds:
other load on the machine hardly affects processor time. Peers are `SentenceTransformer.encode` with its defaults (fp32,
sorted by length, batches of 32 padded texts), and the same model of the transformers library in bf16. `of_peak` is the
share of the rate at which this machine multiplies large bf16 or fp32 matrices in oneDNN's layout, counting only dense
layers (21 MFLOP per token for the packaged model).
gpu: texts per second of elapsed time and the peak of the device's memory, if torch finds a CUDA device.
cache: seconds for N look-ups of short texts, all known. query: one text at a time, milliseconds of processor time in
the environment of a served Bento. forms: overlap of nearest items for the cheaper encoders of `package.encoder`.
memory: the embed stage on N short texts (`benchmarks.embed_memory`).
quality: effect of the texts on ranking (`benchmarks.embed_quality`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from benchmarks import _gpu, embed_memory, embed_quality
from benchmarks import _results as results
from benchmarks._datasets import NAMES, embeddings, read
from models.compute.precision import layer
from models.encoders.text_encoder import encode
from models.inference.encoder.tokens import tokenize
from models.packaging.neighbour_overlap import overlap
from pipelines.artifacts import checkpoint
from pipelines.artifacts.outputs import read_json
from pipelines.bentos import store
from pipelines.embed import cache as embedding_cache
from pipelines.ingest.sources import demo_words
from pipelines.package import encoder as packed_encoder
from pipelines.settings.document import load
from pipelines.settings.embed import Embed

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
MEANS = {"short": 9, "medium": 14, "long": 95}  # words; about 14, 20 and 130 tokens
ROUNDS, SEED = 3, 42
Floats = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Floats]


def speed(n_words: int = 12_000) -> Iterator[dict[str, Any]]:
    """Yield a row per length of texts and encoder; `cosine`: the smallest one with Longtail's encoder in fp32."""
    torch.set_num_threads(1)
    params = load(Embed, ROOT / "params.yaml")
    encoder = checkpoint.find(params)
    tokenizer = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))
    config = read_json(encoder.folder / "config.json")
    flops = config["num_hidden_layers"] * 2 * (4 * config["hidden_size"] + 2 * config["intermediate_size"])
    flops *= config["hidden_size"]  # a token
    ours = {"fp32": torch.float32, "bf16": torch.bfloat16}
    peaks = {name: peak(dtype) for name, dtype in ours.items()}
    yield {"what": "dense layer, GFLOP/s"} | {name: round(value / 1e9) for name, value in peaks.items()}
    made: dict[str, Encode] = {"sentence-transformers": peer(encoder), "transformers bf16": peer(encoder, bf16=True)}
    made |= {name: packed(encoder, params, dtype) for name, dtype in ours.items()}
    for length, words in MEANS.items():
        texts = sentences(n_words // words, words)
        tokens = sum(map(len, tokenize(tokenizer, texts, max_length=encoder.max_length)))
        seconds, vectors = race(made, texts)
        for name, taken in seconds.items():
            precision = "bf16" if "bf16" in name else "fp32"
            yield {
                "what": name,
                "texts": f"{length}, {tokens / len(texts):.0f} tokens",
                "texts_s": round(len(texts) / taken),
                "gain": round(seconds["sentence-transformers"] / taken, 2),
                "of_peak": round(tokens * flops / taken / peaks[precision], 2),
                "cosine": round(float((vectors[name] * vectors["fp32"]).sum(1).min()), 6),
            }


def gpu(devices: Sequence[torch.device], n_words: int = 1_000_000) -> Iterator[dict[str, Any]]:
    """Yield a row per device, length of texts and number format; `cosine`: the smallest one with fp32 on the device."""
    params = load(Embed, ROOT / "params.yaml")
    encoder = checkpoint.find(params)
    for device, (length, words) in itertools.product(devices, MEANS.items()):
        texts, exact = sentences(n_words // words, words), None
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            run = packed(encoder, params, dtype, device)
            vectors = run(texts)  # also warms up
            exact = vectors if exact is None else exact
            yield {
                "what": f"{device.type}, {name}",
                "texts": length,
                "texts_s": round(len(texts) / min(_gpu.seconds(partial(run, texts), device) for _ in range(ROUNDS))),
                "gpu_mb": _gpu.peak_megabytes(partial(run, texts), device),
                "cosine": round(float((vectors * exact).sum(1).min()), 6),
            }


def sentences(n: int, words: int) -> list[str]:
    """Return texts of random words, with log-normal numbers of words around `words`."""
    rng = np.random.default_rng(SEED)
    known = sorted({word for phrase in phrases(vars(demo_words)) for word in phrase.split()})
    lengths = np.maximum(1, rng.lognormal(np.log(words), 0.3, n)).astype(int)
    return [" ".join(rng.choice(known, length)) for length in lengths]


def phrases(value: object) -> Iterator[str]:
    """Yield every text within a module's tables."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            if not str(name).startswith("__"):
                yield from phrases(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from phrases(part)


def race(made: dict[str, Encode], texts: Sequence[str]) -> tuple[dict[str, float], dict[str, Floats]]:
    """Return the shortest processor time of each encoder, in alternating rounds, and the vectors."""
    seconds, vectors = dict.fromkeys(made, float("inf")), {}
    for _ in range(ROUNDS):
        for name, run in made.items():
            start = time.process_time()
            vectors[name] = run(texts)
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds, vectors


def peer(encoder: checkpoint.Encoder, *, bf16: bool = False) -> Encode:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder.folder), device="cpu")
    model.max_seq_length = encoder.max_length
    if bf16:
        model = model.bfloat16()

    def run(texts: Sequence[str]) -> Floats:
        tensor = model.encode(list(texts), convert_to_tensor=True, normalize_embeddings=True)
        return np.asarray(tensor.float().numpy())

    return run


def packed(encoder: checkpoint.Encoder, params: Embed, dtype: torch.dtype, device: torch.device = CPU) -> Encode:
    states, tokenizer = checkpoint.load(encoder, device=device, dtype=dtype)

    def run(texts: Sequence[str]) -> Floats:
        vectors = np.empty((len(texts), encoder.dim), np.float32)
        tokens = tokenize(tokenizer, texts, max_length=encoder.max_length)
        for rows, values in encode(
            states, tokens, pooling=encoder.pooling, batch_tokens=params.batch_tokens, dim=encoder.dim
        ):
            vectors[rows] = values
        return vectors

    return run


def peak(dtype: torch.dtype) -> float:
    """Return the FLOP/s of a dense layer from 384 to 1536, the best of many."""
    dense, x = layer(dtype)
    x = x.repeat(16, 1)  # 1024 rows

    def timed() -> float:
        start = time.perf_counter()
        dense(x)
        return time.perf_counter() - start

    return float(2 * x.shape[0] * dense.weight.numel() / min(timed() for _ in range(200)))


def cache(n_texts: int = 1_000_000) -> Iterator[dict[str, Any]]:
    """Yield the seconds for each step of looking up known texts, with vectors of length 384."""
    texts = [f"number {n} of a catalogue, in about as many words" for n in range(n_texts)]
    with tempfile.TemporaryDirectory(dir=ROOT) as name:
        folder, noise = (
            Path(name),
            np.random.default_rng(SEED).standard_normal((embedding_cache.FULL, 384)).astype(np.float16),
        )
        keys, hashed = clocked(lambda: embedding_cache.keys_of(texts))
        for start in range(0, n_texts, embedding_cache.FULL):
            part = keys[start : start + embedding_cache.FULL]
            embedding_cache.add(folder, part, noise[: len(part)])
        opened, opening = clocked(lambda: embedding_cache.EmbeddingCache([folder], 384))
        rows, finding = clocked(lambda: opened.find(keys))
        read, reading = clocked(
            lambda: sum(
                opened.read(rows[n : n + embedding_cache.FULL])[1].sum()
                for n in range(0, n_texts, embedding_cache.FULL)
            )
        )
        if read != n_texts:
            raise ValueError(f"{read} of {n_texts} vectors were found undamaged")
    steps = {"keys of texts": hashed, "open": opening, "find": finding, "read and check vectors": reading}
    for step, seconds in (steps | {"look-ups, open and find": opening + finding}).items():
        yield {"what": f"cache, {n_texts:,}: {step}", "seconds": round(seconds, 2)}


def clocked(act: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    done = act()
    return done, time.perf_counter() - start


def query() -> Iterator[dict[str, Any]]:
    """Yield the output of `benchmarks.embed_query` in an environment like that of a served Bento, with one thread."""
    with tempfile.TemporaryDirectory() as home:
        env = store.environment(Path(home)) | {"OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.embed_query"]
        printed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    yield from (json.loads(line) for line in printed.splitlines())


def forms(name: str = NAMES[0], n_timed: int = 100) -> Iterator[dict[str, Any]]:
    """Yield a row per form of the encoder for serving: its size, speed, and overlap of nearest items."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    encoder, texts = checkpoint.find(load(Embed, ROOT / "params.yaml")), read(name).texts
    sample = packed_encoder.Sample([list(texts)], [1.0], embeddings(texts))
    weights, config = load_file(encoder.folder / "model.safetensors"), read_json(encoder.folder / "config.json")
    rows = sample.rows(packed_encoder.N_ASKED)
    for form in get_args(packed_encoder.Form):
        arrays, vector = packed_encoder.prepared(form, weights, config, encoder, sample)
        found = np.array([sample.of(row, vector) for row in rows.tolist()])
        with threadpool_limits(1):
            start = time.process_time()
            for text in texts[:n_timed]:
                vector(text)
            seconds = (time.process_time() - start) / n_timed
        yield {
            "data": name,
            "form": form,
            "megabytes": round(sum(array.nbytes for array in arrays.values()) / 1e6, 1),
            "ms": round(1e3 * seconds, 3),
            "texts_s": round(1 / seconds),
            "smallest cosine": round(float((found * sample.vectors[rows]).sum(1).min()), 4),
            "overlap@10": round(overlap(sample.vectors[rows], found, sample.vectors), 4),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=int, default=1_000_000, help="number of cache look-ups")
    parser.add_argument("--data", nargs="+", default=list(NAMES), help="names of data sets, or their folders")
    tables: dict[str, tuple[str, Callable[[], Iterator[dict[str, Any]]]]] = {
        "speed": ("Texts per second of processor time", speed),
        "gpu": ("Texts per second on a GPU", lambda: gpu(_gpu.devices())),
        "cache": ("The cache", lambda: cache(arguments.texts)),
        "query": ("One text at a time, for serving", query),
        "forms": ("Forms of the encoder for serving", forms),
        "memory": ("Memory of the embed stage", lambda: embed_memory.rows(arguments.texts)),
        "quality": ("Effect of texts on ranking, on test", lambda: embed_quality.rows(arguments.data)),
    }
    parser.add_argument("--only", nargs="+", choices=list(tables), help="tables (default: all)")
    arguments = parser.parse_args()
    results.run("embed", tables, arguments.only)


if __name__ == "__main__":
    main()
