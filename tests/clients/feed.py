"""The server under test as a process, clients that read, stall or sip, and checks that say what they saw."""

import asyncio
import http.client
import json
import socket
import time
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlencode

from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

PAUSE = '{"event":"flow.pause"}'
RESUME = '{"event":"flow.resume"}'
KIB, MIB = 1 << 10, 1 << 20


class Failed(Exception):
    """A check that does not hold."""


class Report:
    """Counts checks, and prints one line for each."""

    def __init__(self):
        self.passed = 0

    def check(self, group, what, holds, figures=""):
        line = f"{group}: {what}{f': {figures}' if figures else ''}"
        if not holds:
            print(f"FAILED  {line}", flush=True)
            raise Failed(what)
        self.passed += 1
        print(f"ok  {line}", flush=True)


class Feed:
    """One server under test. It is asked over two connections that are always there, so that they change no count."""

    def __init__(self, address, asked_otherwise):
        self.address = address
        self.asked_otherwise = asked_otherwise
        self.asking, self.ordering = (http.client.HTTPConnection(address, timeout=60) for _ in range(2))
        self.locks = {self.asking: asyncio.Lock(), self.ordering: asyncio.Lock()}

    def beside(self):
        """Returns what asks the same server over connections of its own."""
        return Feed(self.address, self.asked_otherwise)

    async def stats(self):
        return await self._call(self.asking, "GET", "/stats")

    async def publish(self, **order):
        return await self._call(self.ordering, "POST", f"/publish?{urlencode(order)}")

    async def drain(self, over_ms):
        over_ms = self.asked_otherwise.get("over_ms", over_ms)
        return await self._call(self.ordering, "POST", f"/drain?over_ms={over_ms}")

    async def connect(self, **wishes):
        """Connects a client that keeps at most one message besides those of the transport."""
        options = {"compression": None, "ping_interval": None, "proxy": None, "close_timeout": 1, "max_queue": 1}
        return await connect(self._url(wishes), **options)

    async def stalled(self, **wishes):
        """Connects a client that does not read its socket."""
        client = await self.connect(**wishes)
        client.transport.pause_reading()
        return client

    async def reader(self, **wishes):
        return Reader(await self.connect(**wishes))

    async def sipper(self, **wishes):
        return await Sipper.connected(self._url(wishes))

    async def until(self, within, holds):
        """Asks for the stats until this holds of them. Returns the last ones, and after how many seconds it held, or None."""
        began = time.monotonic()
        while True:
            stats = await self.stats()
            took = time.monotonic() - began
            if holds(stats) or took > within:
                return stats, took if holds(stats) else None
            await asyncio.sleep(0.01)

    async def settled(self):
        """Returns the stats once both connections of this are all there are."""
        await self.publish(topic="nobody")
        stats, _ = await self.until(2, lambda stats: stats["tasks"] == 2 and stats["connections"] == 0)
        return stats

    def _url(self, wishes):
        asked = {key: value for key, value in self.asked_otherwise.items() if key != "over_ms"}
        return f"ws://{self.address}/ws?{urlencode(wishes | asked)}"

    async def _call(self, connection, method, path):
        def call():
            connection.request(method, path)
            return json.loads(connection.getresponse().read())

        async with self.locks[connection]:
            return await asyncio.to_thread(call)


@asynccontextmanager
async def serving(binary, asked_otherwise):
    """Starts a server under test, and ends it."""
    process = await asyncio.create_subprocess_exec(binary, stdout=asyncio.subprocess.PIPE)
    try:
        address = (await asyncio.wait_for(process.stdout.readline(), 10)).decode().strip()
        feed = Feed(address, asked_otherwise)
        await feed.settled()
        yield feed
        if process.returncode is not None:
            print(f"FAILED  the server has ended by itself, with {process.returncode}", flush=True)
            raise Failed
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Received:
    """What a client has got, in order: `(at, "flow.pause")`, `(at, "flow.gap", dropped)`, `(at, "message", seq)`."""

    def __init__(self):
        self.all = []

    def note(self, text):
        message = json.loads(text)
        event = message.get("event", "message")
        self.all.append((time.monotonic(), event, message.get("dropped", message.get("seq"))))

    def of(self, *events):
        return [entry for entry in self.all if entry[1] in events]

    def signals(self):
        return [event for _, event, _ in self.of("flow.pause", "flow.resume")]

    def sequence(self):
        return [seq for _, _, seq in self.of("message")]


class Reader(Received):
    """A client that reads all the time, and says what it wants."""

    def __init__(self, connection):
        super().__init__()
        self.connection = connection
        self.closed = None
        self.reading = asyncio.create_task(self._read())

    async def _read(self):
        try:
            async for text in self.connection:
                self.note(text)
        except ConnectionClosed:
            pass
        self.closed = time.monotonic(), self.connection.close_code

    async def say(self, text):
        """Sends this, and comes back once the server has read it."""
        await self.connection.send(text)
        await asyncio.wait_for(await self.connection.ping(), 10)

    async def until(self, within, holds):
        """Returns whether this came to hold of what was read."""
        return await until(within, lambda: holds(self))

    async def leave(self):
        self.connection.transport.abort()
        await self.reading


class Sipper(Received):
    """A client that reads as many bytes as it is told to, from a plain socket."""

    def __init__(self, plain, protocol):
        super().__init__()
        self.socket = plain
        self.protocol = protocol

    @classmethod
    async def connected(cls, url):
        protocol = ClientProtocol(uri := parse_uri(url))
        plain = socket.socket()
        # The kernel is not to take more and more of what waits.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (uri.host, uri.port))
        self = cls(plain, protocol)
        protocol.send_request(protocol.connect())
        await self.send(b"".join(protocol.data_to_send()))
        # No message is in there: nothing is published meanwhile.
        await self.sip()
        return self

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def sip(self, most=16 * 1024, within=10):
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, most), within)
        self.protocol.receive_data(data) if data else self.protocol.receive_eof()
        for event in self.protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.note(event.data)

    async def sip_what_is_there(self):
        """Reads for as long as there is something, and a moment longer."""
        with suppress(TimeoutError):
            while True:
                await self.sip(within=0.05)

    def leave(self):
        self.socket.close()


class Lateness:
    """How late this process comes to what it waits for: what a busy machine, and no server, is to blame for."""

    def __init__(self):
        self.seen = []
        self.watching = asyncio.create_task(self._watch())

    async def _watch(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.002)
            self.seen.append((before, time.monotonic() - before - 0.002))

    def worst_since(self, since):
        """Returns the worst of this time, in seconds."""
        return max((late for at, late in self.seen if at >= since - 0.1), default=0)


@asynccontextmanager
async def meanwhile(work):
    """Has this done beside what is done here, and no longer."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(within, holds):
    """Returns whether this came to hold in so many seconds."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > within:
            return False
        await asyncio.sleep(0.005)
    return True
