"""Encoding of one text at a time in numpy, as for queries in a Bento: a line of JSON per length of texts."""

from __future__ import annotations

import json
import time

import numpy as np
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from benchmarks.embed import MEANS, ROOT, clocked, packed, sentences
from models.inference.encoder import bert_weights
from models.inference.encoder.numpy_encoder import NumpyEncoder, unit_vector
from models.inference.encoder.tokens import tokenize
from pipelines.artifacts import checkpoint
from pipelines.artifacts.outputs import read_json
from pipelines.settings.document import load
from pipelines.settings.embed import Embed

WISH, N = 5, 100  # words of a short query; texts of each length


def main() -> None:
    """Print median milliseconds of processor time on one thread, and the least cosine with the pipeline's vectors."""
    torch.set_num_threads(1)
    params = load(Embed, ROOT / "params.yaml")
    encoder = checkpoint.find(params)

    def ready() -> tuple[NumpyEncoder, Tokenizer]:
        weights = load_file(encoder.folder / "model.safetensors")
        bert = bert_weights.arrange(weights, read_json(encoder.folder / "config.json"))
        return NumpyEncoder(bert), Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))

    (slim, tokenizer), cold = clocked(ready)
    for words in (WISH, *MEANS.values()):
        texts, times, vectors, n_tokens = sentences(N, words), [], [], 0
        for text in texts:
            start = time.process_time()
            (ids,) = tokenize(tokenizer, [text], max_length=encoder.max_length)
            vectors.append(unit_vector(slim(ids), pooling=encoder.pooling, dim=encoder.dim))
            times.append(time.process_time() - start)
            n_tokens += len(ids)
        p50, p90 = np.percentile(times, [50, 90]) * 1e3
        row = {"what": f"numpy, {n_tokens / N:.0f} tokens", "p50_ms": round(p50, 2), "p90_ms": round(p90, 2)}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            row[f"cosine with {name}"] = round(float((packed(encoder, params, dtype)(texts) * vectors).sum(1).min()), 6)
        print(json.dumps(row))
    print(json.dumps({"what": "numpy, weights read and ready", "seconds": round(cold, 2)}))


if __name__ == "__main__":
    main()
