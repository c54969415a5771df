"""The depot: never a false "durable", resumed after any cut."""

import errno
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zmq

from twinloop.agents.campaign import depot as depot_module
from twinloop.agents.campaign import depot_upload
from twinloop.agents.campaign.depot import DepotServer
from twinloop.agents.campaign.depot_upload import Upload, UploadRefused
from twinloop.errors import ArgumentError, BindRefused, Disconnected, MessageRejected
from twinloop.ids import digest_of
from twinloop.log.arrays import ArrayStore
from twinloop.wire.arrays import as_bytes, describe
from twinloop.wire.depot import DepotClient, DepotRefused
from twinloop.wire.depot_words import CHUNK_BYTES, Chunk, Get, Have, decode_word, encode_word
from twinloop.wire.streams import StreamPublisher, StreamSubscriber

DATA = bytes(range(256)) * 8
DIGEST = digest_of(DATA)


def test_an_upload_is_continued_by_a_later_life(tmp_path):
    store = ArrayStore(tmp_path / "arrays")
    assert not Upload(tmp_path / "part", DIGEST, len(DATA)).add(DATA[:700])
    later = Upload(tmp_path / "part", DIGEST, len(DATA))
    assert later.size == 700
    assert later.add(DATA[700:])
    later.finish(store)
    assert store.read(DIGEST) == DATA
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize("torn", [b"\0" * 700, DATA[:699] + b"!"])
def test_a_torn_part_is_noticed_at_the_end_and_thrown_away(tmp_path, torn):
    store = ArrayStore(tmp_path / "arrays")
    (tmp_path / "part").write_bytes(torn)
    upload = Upload(tmp_path / "part", DIGEST, len(DATA))
    assert upload.add(DATA[700:])
    with pytest.raises(UploadRefused):
        upload.finish(store)
    assert not store.has(DIGEST)
    assert Upload(tmp_path / "part", DIGEST, len(DATA)).size == 0


def test_more_bytes_than_announced_are_refused(tmp_path):
    with pytest.raises(UploadRefused):
        Upload(tmp_path / "part", DIGEST, 10).add(b"x" * 11)
    (tmp_path / "part").write_bytes(DATA)
    assert Upload(tmp_path / "part", DIGEST, 10).size == 0


def test_after_a_failed_sync_the_part_is_not_trusted_again(tmp_path, monkeypatch):
    store = ArrayStore(tmp_path / "arrays")
    upload = Upload(tmp_path / "part", DIGEST, len(DATA))
    assert upload.add(DATA)

    def failing(_):
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(depot_upload, "sync_file", failing)
        with pytest.raises(OSError, match="input/output"):
            upload.finish(store)
    assert not store.has(DIGEST)
    assert Upload(tmp_path / "part", DIGEST, len(DATA)).size == 0


def test_a_depot_off_loopback_does_not_start(tmp_path):
    with pytest.raises(BindRefused):
        DepotServer(tmp_path / "arrays", "tcp://0.0.0.0:0")


def test_local_use_needs_no_thread(tmp_path):
    server = DepotServer(tmp_path / "arrays", "inproc://depot")
    ref = server.store.put("x", np.arange(3))
    assert server.has(ref.digest)
    assert server.load(ref).tolist() == [0, 1, 2]
    assert server.read(ref.digest) == server.path(ref.digest).read_bytes()
    with pytest.raises(ArgumentError):
        server.path("../x")
    server.stop()


@pytest.fixture
def server(tmp_path):
    made = DepotServer(tmp_path / "arrays")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(server):
    with DepotClient(server.endpoint) as made:
        yield made


system = pytest.mark.system


@system
@pytest.mark.parametrize("n", [0, 1, CHUNK_BYTES // 4, CHUNK_BYTES // 4 + 1, CHUNK_BYTES])
def test_arrays_of_any_size_come_back(server, client, n):
    array = np.arange(n, dtype=np.float32)
    ref = client.put("x", array)
    assert server.has(ref.digest)
    back = client.get(ref)
    assert np.array_equal(back, array)
    assert not back.flags.writeable


@system
def test_an_array_that_is_there_is_not_sent_again(server, client, monkeypatch):
    array = np.arange(1000)
    client.put("x", array)
    monkeypatch.setattr(server, "_chunk", None)
    assert client.put("again", array).name == "again"


@system
def test_an_absent_or_damaged_array_is_an_error_and_never_data(server, client):
    ref = describe("x", np.arange(5))
    with pytest.raises(DepotRefused) as caught:
        client.get(ref)
    assert caught.value.code == "absent"
    client.put("x", np.arange(5))
    server.path(ref.digest).write_bytes(bytes(40))
    with pytest.raises(MessageRejected, match="digest"):
        client.get(ref)


@system
@pytest.mark.parametrize("where", ["add", "finish"])
def test_a_failing_disk_is_told_and_nothing_counts_as_durable(server, client, monkeypatch, where):
    def failing(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    array = np.arange(1000)
    with monkeypatch.context() as patch:
        patch.setattr(Upload, where, failing)
        with pytest.raises(DepotRefused, match="no space") as caught:
            client.put("x", array)
    assert caught.value.code == "disk"
    assert not server.has(describe("x", array).digest)
    assert server.has(client.put("x", array).digest)


def test_after_a_half_written_chunk_the_depot_looks_at_the_disk_again(tmp_path, monkeypatch):
    def torn(upload, data):
        upload.path.write_bytes(data[:300])
        raise OSError(errno.EIO, "input/output error")

    server = DepotServer(tmp_path / "arrays", "inproc://torn")
    chunk = Chunk(ask=1, digest=DIGEST, offset=0, nbytes=len(DATA))
    with monkeypatch.context() as patch:
        patch.setattr(Upload, "add", torn)
        assert server._chunk(chunk, DATA)[0].code == "disk"
    assert server._have(Have(ask=2, digest=DIGEST, nbytes=len(DATA)))[0].offset == 300
    rest = Chunk(ask=3, digest=DIGEST, offset=300, nbytes=len(DATA))
    assert server._chunk(rest, DATA[300:])[0].kind == "durable"
    assert server.read(DIGEST) == DATA
    server.stop()


@system
def test_answers_that_come_twice_do_no_harm(server, client, monkeypatch):
    put = server._put
    monkeypatch.setattr(server, "_put", lambda frames: (put(frames), put(frames))[0])
    array = np.random.default_rng(1).random(3 * CHUNK_BYTES // 8 + 5)
    assert np.array_equal(client.get(client.put("x", array)), array)


@system
def test_limits_of_size_and_of_free_disk_are_told(tmp_path):
    server = DepotServer(tmp_path / "a", max_array_bytes=100)
    server.start()
    with DepotClient(server.endpoint) as client:
        with pytest.raises(DepotRefused, match="allowed 100") as caught:
            client.put("x", np.zeros(101, "u1"))
        assert caught.value.code == "too_large"
        client.put("x", np.zeros(100, "u1"))
        server._keep_free_bytes = 2**62
        with pytest.raises(DepotRefused) as caught:
            client.put("x", np.ones(100, "u1"))
        assert caught.value.code == "full"
    server.stop()


@system
def test_a_client_recovers_from_what_an_earlier_life_left_torn(server, client):
    array = np.arange(CHUNK_BYTES, dtype=np.uint8)
    ref = describe("x", array)
    (server._incoming / ref.digest).write_bytes(b"\xff" * 1000)
    client.put("x", array)
    assert server.load(ref).tobytes() == array.tobytes()


@system
def test_without_a_depot_the_client_gives_up_in_time_and_says_who_is_missing():
    with (
        DepotClient("tcp://127.0.0.1:1") as client,
        pytest.raises(Disconnected, match=r"127\.0\.0\.1:1"),
    ):
        client.put("x", np.arange(3), timeout_s=0.3)


@system
def test_another_thread_can_cancel_a_wait():
    with DepotClient("tcp://127.0.0.1:1") as client:
        thread = threading.Thread(target=client.cancel)
        thread.start()
        with pytest.raises(Disconnected, match="cancelled"):
            client.put("x", np.arange(3), timeout_s=50.0)
        thread.join()


@system
def test_hostile_words_are_counted_and_make_no_file(server, tmp_path):
    bad = '{"kind":"have","ask":1,"digest":"../../../../etc/passwd","nbytes":3}'
    attacks = [
        [],
        [b"\xff"],
        [bad.encode()],
        [encode_word(Have(ask=1, digest=DIGEST, nbytes=3)), b"extra"],
        [encode_word(Chunk(ask=1, digest=DIGEST, offset=0, nbytes=3))],
        [encode_word(Get(ask=1, digest=DIGEST, offset=0)), *[b"x"] * 1000],
        [b'{"kind":"durable","ask":1,"digest":"' + DIGEST.encode() + b'"}'],
    ]
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(server.endpoint)
        for frames in attacks:
            socket.send_multipart(frames or [b""])
        word = Chunk(ask=7, digest=DIGEST, offset=0, nbytes=3)
        socket.send_multipart([encode_word(word), b"bad"])
        answer = decode_word(socket.recv_multipart()[0])
    assert (answer.kind, answer.code, answer.ask) == ("error", "damaged", 7)
    assert sum(n for reason, n in server.counts.items() if reason.startswith("rejected")) == len(
        attacks
    )
    assert [p for p in (tmp_path / "arrays").rglob("*") if p.is_file()] == []


SERVER = """
import sys, threading
from pathlib import Path
from twinloop.agents.campaign.depot import DepotServer
server = DepotServer(Path(sys.argv[1]), sys.argv[2])
server.start()
print(server.endpoint, flush=True)
threading.Event().wait()
"""


def depot_process(folder, endpoint):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, folder, endpoint], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


@system
def test_a_put_survives_kill_9_of_the_depot_and_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "arrays"
    array = np.frombuffer(np.random.default_rng(1).bytes(48 * CHUNK_BYTES), "u1")
    ref = describe("x", array)
    part = folder / "incoming" / ref.digest
    process, endpoint = depot_process(folder, "tcp://127.0.0.1:0")
    done = []
    with DepotClient(endpoint) as client:
        thread = threading.Thread(target=lambda: done.append(client.put("x", array)))
        thread.start()
        give_up_s = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size > 4 * CHUNK_BYTES):
            assert time.monotonic() < give_up_s
        process.kill()
        process.communicate()
        kept = part.stat().st_size
        assert not done
        assert 0 < kept < array.nbytes
        process, _ = depot_process(folder, endpoint)
        thread.join()
    assert done == [ref]
    assert ArrayStore(folder).load(ref).tobytes() == array.tobytes()
    assert not part.exists()
    process.kill()
    process.communicate()


@system
def test_a_killed_client_continues_where_it_was(server, monkeypatch):
    array = np.arange(3 * CHUNK_BYTES // 8)
    data = bytes(as_bytes(array))
    ref = describe("x", array)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(server.endpoint)
        word = Chunk(ask=1, digest=ref.digest, offset=0, nbytes=ref.nbytes)
        socket.send_multipart([encode_word(word), data[:CHUNK_BYTES]])
        assert decode_word(socket.recv_multipart()[0]).offset == CHUNK_BYTES
    offsets = []
    chunk = server._chunk
    monkeypatch.setattr(server, "_chunk", lambda w, d: (offsets.append(w.offset), chunk(w, d))[1])
    with DepotClient(server.endpoint) as client:
        client.put_bytes(ref, data)
    assert offsets == [CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert server.read(ref.digest) == data


@system
def test_two_clients_with_the_same_array_help_each_other(server):
    array = np.arange(6 * CHUNK_BYTES // 8)
    refs = []

    def put():
        with DepotClient(server.endpoint) as client:
            refs.append(client.put("x", array))

    threads = [threading.Thread(target=put) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refs) == 3
    assert np.array_equal(server.load(refs[0]), array)


@system
def test_a_stream_is_forwarded_to_its_subscribers_and_not_stored(server):
    with (
        StreamSubscriber(server.endpoint, "rheed") as sub,
        StreamSubscriber(server.endpoint, "other") as other,
        StreamPublisher(server.endpoint, "rheed") as publisher,
    ):
        got = []
        give_up_s = time.monotonic() + 20
        n = 0
        while len(got) < 5:
            assert time.monotonic() < give_up_s
            publisher.publish("key", {"n": n}, {"frame": np.full((4, 4), n, "u2")})
            n += 1
            got += sub.poll(0.05)
        assert other.poll(0.0) == []
        assert all(e.about["n"] == e.n and (e.arrays[0] == e.n).all() for e in got)
        assert got[0].n_lost == got[0].n
        assert sum(e.n_lost for e in got) + len(got) == got[-1].n + 1
    assert server.store.digests() == []


@system
def test_a_publisher_never_waits_and_counts_what_is_lost():
    with StreamPublisher("tcp://127.0.0.1:1", "rheed") as publisher:
        assert not any(publisher.publish("key", {"n": n}) for n in range(100))
        assert publisher.n_lost == 100
        with pytest.raises(MessageRejected):
            publisher.publish("key", {}, {"frame": np.zeros(CHUNK_BYTES + 1, "u1")})


@system
def test_a_slow_subscriber_loses_and_is_told_how_many(server):
    with (
        StreamSubscriber(server.endpoint, "rheed") as sub,
        StreamPublisher(server.endpoint, "rheed") as publisher,
    ):
        give_up_s = time.monotonic() + 20
        while not sub.poll(0.05):
            assert time.monotonic() < give_up_s
            publisher.publish("a", {})
        frame = {"frame": np.zeros(CHUNK_BYTES, "u1")}
        sent = 0
        while server.counts["stream elements lost"] == 0:
            assert time.monotonic() < give_up_s
            sent += publisher.publish("b", {}, frame)
        got = []
        while not got or got[-1].key != "c":
            publisher.publish("c", {})
            got += sub.poll(0.05)
        n_b = [e.n for e in got if e.key == "b"]
    assert 0 < len(n_b) < sent


def test_the_depot_sees_every_element_if_it_wants(tmp_path):
    seen = []
    server = DepotServer(
        tmp_path / "a", "inproc://depot2", on_stream=lambda w, f: seen.append((w.n, f))
    )
    word = depot_module.Publish(stream="s", n=3)
    server._serve([b"c", encode_word(word)])
    assert seen == [(3, [])]
    server.stop()


def test_an_unforeseen_error_does_not_end_the_depot(tmp_path, monkeypatch):
    depot = DepotServer(tmp_path / "arrays")
    serve, failures = depot._serve, [RuntimeError("unforeseen")]

    def once(frames):
        if failures:
            raise failures.pop()
        serve(frames)

    monkeypatch.setattr(depot, "_serve", once)
    depot.start()
    try:
        with DepotClient(depot.endpoint) as client:
            ref = client.put("trace", np.arange(3.0))
        assert depot.has(ref.digest)
        assert depot.counts["errors"] == 1
    finally:
        depot.stop()


@system
@pytest.mark.parametrize("n", [0, 3, CHUNK_BYTES // 4])
def test_what_is_lent_is_given_and_leaves_nothing_on_the_disk(server, client, n):
    array = np.arange(n, dtype=np.float64)
    ref = server.lend("question", array)
    assert np.array_equal(client.get(ref), array)
    assert not server.has(ref.digest)
    assert not [path for path in server.store.path(ref.digest).parent.rglob("*") if path.is_file()]


@system
def test_of_very_much_that_is_lent_the_oldest_is_forgotten(server, client, monkeypatch):
    monkeypatch.setattr(depot_module, "_LENT_BYTES", 1000)
    first, second, third = (server.lend("part", np.full(50, k, float)) for k in range(3))
    assert client.get(third)[0] == 2.0
    assert client.get(second)[0] == 1.0
    with pytest.raises(DepotRefused):
        client.get(first)
