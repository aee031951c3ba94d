"""Define the public interface: schemas, the table of endpoints, OpenAPI, the comparison with the previous version."""
