"""Recognise versions and candidates: tags, verified files, digests, the chain of stages, changes between versions."""
