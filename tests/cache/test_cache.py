"""Every cache alike: memory, SQLite, and a real Redis server from Debian's packages."""

import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from invent_chain.cache import CachedEncoder, MemoryCache, RedisCache, SqliteCache, answer_key, as_cache, embedding_key
from invent_chain.cache.sqlite import default_path
from invent_chain.embed import CallableEncoder, SentenceTransformerEncoder
from invent_chain.errors import CacheError, ConfigurationError
from invent_chain.types import Sampling

UNPACKED = Path(sys.prefix) / "redis"


def redis_command() -> list[str] | None:
    """The installed server, or the one that the test set-up unpacked into the environment."""
    found = shutil.which("redis-server") or shutil.which("redis-server", path=UNPACKED / "usr" / "bin")
    return [found] if found else None


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    command = redis_command()
    if command is None:
        pytest.skip("no redis-server: scripts/get_redis.sh unpacks one where Debian's packages can be had")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    libraries = [str(path) for path in (UNPACKED / "usr" / "lib").glob("*-linux-gnu")]
    folder = tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(
        [
            *command,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ],
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)},
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def cache(request, tmp_path):
    if request.param == "memory":
        yield MemoryCache()
        return
    made = (
        SqliteCache(tmp_path / "c.sqlite")
        if request.param == "sqlite"
        else RedisCache(request.getfixturevalue("redis_url"))
    )
    made.clear()
    yield made
    made.close()


def test_what_was_kept_comes_back(cache):
    assert cache.get_many(["a", "b"]) == {}
    cache.set_many({"a": b"1", "b": b"\x00\xff"})
    cache.set_many({"a": b"2"})
    assert cache.get_many(["a", "b", "c"]) == {"a": b"2", "b": b"\x00\xff"}
    many = {str(k): str(k).encode() for k in range(1200)}
    cache.set_many(many)
    assert cache.get_many(list(many)) == many
    cache.clear()
    assert cache.get_many(["a", *many]) == {}
    assert cache.get_many([]) == {}


def test_threads_share_it(cache):
    def work(k):
        for j in range(20):
            cache.set_many({f"{k}-{j}": b"x"})
            assert cache.get_many([f"{k}-{j}"]) == {f"{k}-{j}": b"x"}
            done.append(k)

    done = []
    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 120


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
def test_expiry(kind, tmp_path, request, monkeypatch):
    if kind == "redis":
        cache = RedisCache(request.getfixturevalue("redis_url"), expiry=1.0, prefix="expiry:")
        cache.set_many({"a": b"1"})
        assert cache.get_many(["a"]) == {"a": b"1"}
        time.sleep(1.2)
    else:
        cache = MemoryCache(expiry=10.0) if kind == "memory" else SqliteCache(tmp_path / "c.sqlite", expiry=10.0)
        cache.set_many({"a": b"1"})
        assert cache.get_many(["a"]) == {"a": b"1"}
        clock = time.monotonic if kind == "memory" else time.time
        now = clock()
        monkeypatch.setattr(time, clock.__name__, lambda: now + 11.0)
    assert cache.get_many(["a"]) == {}


def test_size_is_limited_and_what_is_used_stays(tmp_path):
    memory = MemoryCache(max_bytes=250)
    for k in range(5):
        memory.set_many({f"{k}": b"x" * 99})
        memory.get_many(["0"])
    assert set(memory.get_many([str(k) for k in range(5)])) == {"0", "4"}
    disk = SqliteCache(tmp_path / "c.sqlite", max_bytes=100_000)
    disk.set_many({"first": b"x" * 100})
    for k in range(450):
        disk.set_many({str(k): b"x" * 1000})
        disk.get_many(["first"])
    kept = disk.get_many([str(k) for k in range(450)])
    assert sum(map(len, kept.values())) < 100_000 + 200 * 1000
    assert "449" in kept
    assert "0" not in kept
    assert "first" in disk.get_many(["first"])


def write(path, name):
    cache = SqliteCache(path)
    for k in range(100):
        cache.set_many({f"{name}-{k}": name.encode(), "shared": name.encode()})


def test_several_processes_write_at_once(tmp_path):
    path = tmp_path / "c.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write, args=(path, name)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    cache = SqliteCache(path)
    found = cache.get_many([f"{name}-{k}" for name in "abc" for k in range(100)])
    assert len(found) == 300
    assert cache.get_many(["shared"])["shared"] in (b"a", b"b", b"c")


def test_the_file_is_the_owners_alone_and_a_broken_one_says_so(tmp_path):
    cache = SqliteCache(tmp_path / "deep" / "c.sqlite")
    cache.set_many({"a": b"1"})
    assert cache.path.stat().st_mode & 0o077 == 0
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"this is no database" * 100)
    with pytest.raises(CacheError, match=r"broken.sqlite cannot be used .*delete it"):
        SqliteCache(broken).get_many(["a"])


def test_a_server_that_is_not_there():
    with pytest.raises(CacheError, match=r"127.0.0.1:1 cannot be used \(ConnectionError\)"):
        RedisCache("redis://user:secret@127.0.0.1:1/0").get_many(["a"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MemoryCache(expiry=0), "expiry=0: must be more than 0"),
        (lambda: SqliteCache(max_bytes=0), "max_bytes=0"),
        (lambda: SqliteCache(expiry="3"), "expiry='3'"),
        (lambda: SqliteCache(timeout="a"), "timeout='a'"),
        (lambda: SqliteCache(5), "path=5"),
        (lambda: SqliteCache(""), "path=''"),
        (lambda: RedisCache("localhost"), "'localhost' is no address"),
        (lambda: RedisCache("redis://u:secret@localhost:abc/0"), "^'localhost:abc/0' is no address"),
        (lambda: RedisCache(5), "url must be a text"),
        (lambda: RedisCache("redis://localhost", prefix=5), "prefix must be a text"),
        (lambda: RedisCache("redis://localhost", timeout="x"), "timeout='x'"),
        (lambda: as_cache("yes"), "cache is a str"),
    ],
)
def test_bad_settings(make, says):
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_what_users_may_pass(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = as_cache(True)
    assert isinstance(made, SqliteCache)
    if sys.platform == "linux":
        assert made.path == default_path() == tmp_path / "invent-chain" / "cache.sqlite"
        assert not made.path.exists()  # nothing is written before it is used
    assert as_cache(None) is None
    assert as_cache(False) is None
    memory = MemoryCache()
    assert as_cache(memory) is memory


def test_keys_differ_in_everything_that_matters():
    keys = {
        answer_key(identity, question, replication, Sampling(heat, longest))
        for identity in ("a", "b")
        for question in ("q", "r")
        for replication in range(3)
        for heat in (None, 0.7)
        for longest in (None, 20)
    }
    assert len(keys) == 48
    assert answer_key("a", "é\ud800", 0, Sampling())
    assert embedding_key("a", "b") != embedding_key("ab", "")


class Encoder:
    name = "counting"

    def __init__(self):
        self.texts = []

    def encode(self, texts):
        self.texts += texts
        return np.array([[len(text), 1.0] for text in texts])


def test_each_text_is_embedded_once(cache):
    encoder = Encoder()
    for _ in range(2):
        rows = CachedEncoder(encoder, cache).encode(["a", "bb", "a"])
        assert rows.tolist() == [[1, 1], [2, 1], [1, 1]]
    CachedEncoder(encoder, cache).encode(["bb", "ccc"])
    assert encoder.texts == ["a", "bb", "ccc"]


def test_a_broken_cache_does_not_cost_the_embedding(tmp_path, caplog):
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"this is no database" * 100)
    rows = CachedEncoder(Encoder(), SqliteCache(broken)).encode(["a"])
    assert rows.tolist() == [[1, 1]]
    assert "embeddings are not looked up" in caplog.text


def test_encoders_that_cannot_be_told_apart_share_nothing():
    """Two functions of one name, two folders of one name."""
    cache = MemoryCache()
    one = CallableEncoder(lambda texts: np.ones((len(texts), 2)))
    other = CallableEncoder(lambda texts: np.zeros((len(texts), 3)))
    assert one.name == other.name
    assert CachedEncoder(one, cache).encode(["a"]).tolist() == [[1, 1]]
    assert CachedEncoder(other, cache).encode(["a"]).tolist() == [[0, 0, 0]]
    named = [CallableEncoder(lambda texts: np.array([[len(t)] for t in texts]), name=name) for name in ("a", "b")]
    folders = [SentenceTransformerEncoder(folder) for folder in ("here/model", "there/model")]
    assert len({encoder.identity for encoder in (*named, *folders)} - {""}) == 4
    assert SentenceTransformerEncoder(object()).identity == ""
    assert SentenceTransformerEncoder(object(), name="mine").identity == "mine"
