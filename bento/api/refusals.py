"""Error answers of the OpenAPI document, each with the body that the service sends."""

from __future__ import annotations

from typing import Any

from bento.api.descriptions import RETRY, answering


def refusal(description: str, error: str, **more: Any) -> dict[str, Any]:
    """Return the description of an error; error: an example of its text; more: further fields of the body."""
    return answering(description, example={"error": error} | more)


def header(name: str) -> dict[str, Any]:
    return {"headers": {name: {"required": True, "schema": {"type": "string"}}}}


INVALID = refusal(
    "The request is malformed, or this model cannot answer it",
    "the request body has 1 invalid field",
    detail=[{"type": "missing", "loc": ["user_id"], "msg": "Field required"}],
)
UNKNOWN = {
    "404": refusal(
        "An item or user is unknown to the model; the error names it",
        "1 of 2 items are not in the catalogue of longtail:caa4269246d0: 'b99999'",
    )
}
REFUSALS = {
    "400": INVALID,
    "401": refusal(
        "The API key is missing or wrong",
        "the API key is missing or wrong; send it as a bearer token: Authorization: Bearer KEY",
    )
    | header("WWW-Authenticate"),
    "405": refusal("The address does not accept this method", "method not allowed; /recommend accepts POST")
    | header("Allow"),
    "408": refusal("The request took too long to arrive", "the request took longer than 10 s to arrive"),
    "413": refusal("The body is longer than 1 MiB", "the body is too long, expected at most 1048576 bytes"),
    "421": refusal(
        "The service does not answer to this Host; LONGTAIL_HOSTS lists further hosts",
        "this service does not answer to the Host of the request; add it to LONGTAIL_HOSTS in the server's environment "
        "(names or IP addresses, separated by commas)",
    ),
    "500": refusal(
        "The answer failed; the server's log has the reason", "this answer failed; the server's log has the reason"
    ),
    "503": refusal(
        "Too many concurrent requests, or no answer in time; repeat the request after the seconds in Retry-After",
        "too many concurrent requests, expected at most 64; try again",
    )
    | {"headers": RETRY},
}
REFUSALS_OF_WRITES = {
    "403": refusal(
        "A page of another site sent the request; LONGTAIL_CORS_ORIGINS lists the sites that may",
        "a page of another site may not send this request; to allow it, add its origin, such as https://shop.example, "
        "to LONGTAIL_CORS_ORIGINS in the server's environment",
    ),
    "415": refusal(
        "The Content-Type is not application/json",
        "the body has to be JSON; send the header Content-Type: application/json",
    ),
}
