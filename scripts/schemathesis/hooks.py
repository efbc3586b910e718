"""What a schema cannot say of Sluice's requests, told to Schemathesis. Loaded by scripts/schemathesis.sh."""

import gzip
import json
import re
import zlib

import schemathesis
import zstandard
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis import Case, CheckContext, HookContext, Response

CODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
BINARY = "application/octet-stream"
SHORT_WAIT = re.compile("0*([1-9][0-9]{0,3}ms|[1-9]s)")


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict) -> None:
    """NDJSON is made of events. The ce- headers are left to `before_call`: they come all together or not at all."""
    parameters = raw_schema["components"]["parameters"]
    for path, event in (("/events", "Event"), ("/api/v1/events", "PlayerEvent")):
        post = raw_schema["paths"][path]["post"]
        lines = {"type": "array", "minItems": 1, "items": {"$ref": f"#/components/schemas/{event}"}}
        post["requestBody"]["content"]["application/x-ndjson"] = {"schema": lines}
        names = [parameter["$ref"].rsplit("/", 1)[1] for parameter in post["parameters"]]
        post["parameters"] = [parameters[name] for name in names if not parameters[name]["name"].startswith("ce-")]


@schemathesis.serializer("application/x-ndjson")
def ndjson(context: schemathesis.SerializationContext, value: object) -> bytes:
    """One event a line. Whatever else was made in place of a list is one line that is no event."""
    items = value if isinstance(value, list) else [json.dumps(value)]
    return b"\n".join(json.dumps(item).encode() for item in items)


@schemathesis.hook
def filter_case(context: HookContext, case: Case) -> bool:
    """Leaves out what JSON Schema takes for right and is not."""
    bodies = case.body if isinstance(case.body, list) else [case.body]
    return all(map(is_said, filter(lambda body: isinstance(body, dict), bodies)))


def is_said(event: dict) -> bool:
    name = event.get("id")
    if isinstance(name, str) and len(name) <= 128 < len(name.encode()):
        return False  # counted in bytes
    if "specversion" not in event:
        return True
    # Of a CloudEvent: an integer has no fraction, be it .0, and data that is a text of another type is not empty.
    has_fraction = any(isinstance(value, float) and value.is_integer() for value in event.values())
    return not has_fraction and not (event.get("data") == "" and event.get("datacontenttype"))


class Coded(AuthBase):
    """Puts the body into the coding that the request names. A requests auth handler sees the finished request."""

    def __init__(self, coder) -> None:
        self.coder = coder

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        request.body = self.coder(body or b"")
        return request


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict) -> None:
    """A binary body is a CloudEvent's, with its attributes; a coded one is really coded. A wait that may be too short for
    Kafka, and would be answered with 503 or 504, is longer."""
    if SHORT_WAIT.fullmatch(str((case.query or {}).get("timeout"))):
        case.query["timeout"] = "10s"
    if case.media_type == BINARY:
        case.headers.update({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"})
    coder = CODERS.get((case.headers or {}).get("Content-Encoding"))
    if coder is not None:
        kwargs["auth"] = Coded(coder)


@schemathesis.check
def batches_add_up(ctx: CheckContext, response: Response, case: Case) -> None:
    """207 says which items were refused, other successes that none was; the numbers are those of the items."""
    if case.method != "POST" or response.status_code not in (200, 202, 207):
        return
    answer = response.json()
    if not isinstance(answer, dict) or "items" not in answer:
        assert response.status_code != 207, "207 is a batch's"
        return
    statuses = [item["status"] for item in answer["items"]]
    refused = [status for status in statuses if status >= 400]
    assert [item["index"] for item in answer["items"]] == list(range(len(statuses)))
    assert (answer["accepted"], answer["refused"]) == (len(statuses) - len(refused), len(refused))
    assert bool(refused) == (response.status_code == 207)
