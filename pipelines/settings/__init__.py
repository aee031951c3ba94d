"""Read `params.yaml`: the document, the classes of its sections, and the check of all of them together."""
