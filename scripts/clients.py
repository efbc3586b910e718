"""Python's requests against a gateway, for scripts/clients.sh: prints how many events were told to be stored."""

import concurrent.futures
import gzip
import json
import sys

import requests

BASE = sys.argv[1]
EVENT = {"type": "login", "payload": {"user": "alice"}}
PLAYER = {"event_type": "login", "player_id": "alice", "game_id": "chess", "timestamp": "2026-11-21T10:00:00Z"}


def told(session: requests.Session, path: str, status: int = 200, **body) -> dict:
    answer = session.post(f"{BASE}{path}?ack=delivered", timeout=20, **body)
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json()


def one_session(_: int) -> int:
    """Keep-alive, one request after the other."""
    with requests.Session() as session:
        for _ in range(50):
            assert told(session, "/events", json=EVENT)["status"] == "stored"
            assert told(session, "/api/v1/events", json=PLAYER)["status"] == "success"
    return 100


def each_form() -> int:
    lines = "\n".join(json.dumps(EVENT) for _ in range(100))
    coded = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    with requests.Session() as session:
        told(session, "/events", data=gzip.compress(json.dumps(EVENT).encode()), headers=coded)
        told(session, "/events", data=iter([json.dumps(EVENT).encode()]))  # in chunks
        assert told(session, "/events", json=[EVENT] * 100)["accepted"] == 100
        assert told(session, "/events", data=lines, headers={"Content-Type": "application/x-ndjson"})["accepted"] == 100
        session.headers["Connection"] = "close"
        told(session, "/events", json=EVENT)
        assert session.get(f"{BASE}/ready", timeout=20).json()["status"] == "ready"
    return 203


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(one_session, range(8))) + each_form())
