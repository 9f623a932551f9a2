"""Foreign WebSocket clients that do not keep up with the server under test, send too much, or send what they should not.

usage: stalled.py PATH-OF-THE-SERVER [--only GROUP] [--ask KEY=VALUE]

Starts a server for each group of checks, and ends with 1 at the first check that does not hold. `--ask` asks otherwise of it than
the checks expect, to see them fail: `--only memory --ask bytes=1000000000 --ask messages=100000`.
"""

import argparse
import asyncio
import sys
import time
import traceback
from contextlib import suppress
from functools import partial
from http.client import HTTPException

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import Frame, Opcode

from feed import KIB, MIB, PAUSE, RESUME, Failed, Lateness, Report, meanwhile, serving, until

POLICIES = ("drop-oldest", "drop-newest", "block")


async def memory(feed, check, lateness):
    """Where 100 clients stop reading, what is published is held once and up to their bounds, and no further."""
    before = (await feed.stats())["rss_kib"]
    stalled = [await feed.stalled(policy=POLICIES[number % 3], messages=50, bytes=MIB) for number in range(100)]

    published = await feed.publish(count=960, bytes=64 * KIB)
    first = await feed.stats()
    grown = (first["rss_kib"] - before) / KIB
    check("60 MB for each of 100 clients that do not read cost at most 25 MiB", grown <= 25, f"{grown:.1f} MiB")
    admitted, refused = published["admitted"], published["refused"]
    check("each is offered each message", admitted + refused == 96_000, f"{admitted} admitted, {refused} refused")
    check("what they share is held once", first["bytes"] <= 8 * MIB, f"{first['bytes'] / MIB:.1f} MiB in the hub")

    await feed.publish(count=960, bytes=64 * KIB)
    again = await feed.stats()
    more = (again["rss_kib"] - first["rss_kib"]) / KIB
    check("the same once more costs at most 2 MiB more", more <= 2, f"{more:.1f} MiB")

    vanish(stalled)
    freed, _ = await feed.until(2, lambda stats: (stats["bytes"], stats["connections"]) == (0, 0))
    check("once they are gone nothing is held", (freed["bytes"], freed["connections"]) == (0, 0))


async def policies(feed, check, lateness):
    """Each policy fills an outbox to its bound of bytes, and counts what it drops."""
    for policy in POLICIES:
        stalled = [await feed.stalled(policy=policy, messages=50, bytes=MIB) for _ in range(10)]
        await feed.publish(count=960, bytes=64 * KIB)
        full = (await feed.stats())["slowest"]
        depths = {(member["messages"], member["bytes"] <= MIB, member["paused"]) for member in full}
        check(f"{policy}: 16 messages of 64 KiB wait, in 1 MiB, above the high mark", depths == {(16, True, True)})
        lost = {member["dropped"] for member in full}
        taken = [960 - 16 - dropped for dropped in lost]
        all_but_a_few = all(0 < some <= 16 for some in taken)
        check(f"{policy}: all others are lost, but for a few in the transport", all_but_a_few, f"{taken} of 960 are there")
        await feed.publish(count=100, bytes=64 * KIB)
        lost_again = {member["dropped"] for member in (await feed.stats())["slowest"]}
        check(f"{policy}: 100 more are 100 more lost", lost_again == {dropped + 100 for dropped in lost})
        vanish(stalled)
        await feed.settled()


async def hard_limit(feed, check, lateness):
    """Who crosses it leaves the hub at once, and the machine within a second."""
    bystander = await feed.reader(messages=200, bytes=8 * MIB)
    before = await feed.stats()
    stalled = [await feed.stalled(messages=50, hard_messages=10) for _ in range(20)]
    crossing = time.monotonic()
    await feed.publish(count=100, bytes=16 * KIB)
    _, gone = await feed.until(1.5, lambda stats: stats["members"] == before["members"])
    took = time.monotonic() - crossing
    check("20 clients above the hard limit are no members after 1.5 s", gone is not None, f"after {took * 1e3:.0f} ms")

    after, freed = await feed.until(2, lambda stats: all(stats[count] <= before[count] for count in COUNTS))
    figures = ", ".join(f"{count} {after[count]} (before: {before[count]})" for count in COUNTS)
    check("2 s later all that they held is free", freed is not None, f"after {freed or 2:.2f} s: {figures}")
    heard = await bystander.until(2, lambda reader: reader.sequence() == list(range(100)))
    check("who reads beside them gets each message", heard, f"{len(bystander.sequence())} of 100")
    await bystander.leave()
    vanish(stalled)


async def soft_limit(feed, check, lateness):
    """Who stays above it for 3 s is closed then, although nothing is sent; who comes back to it has the whole time again."""
    wishes = {"messages": 50, "soft_messages": 40, "soft_ms": 3_000}
    stays, comes_back = await feed.reader(topic="stays", **wishes), await feed.reader(topic="comes back", **wishes)

    asked, answered = await above_the_limit(feed, stays, "stays")
    check("the server tells it to pause", await stays.until(2, lambda reader: reader.signals() == ["flow.pause"]))
    told, late = stays.of("flow.pause")[0][0], lateness.worst_since(asked)
    figures = f"{(told - asked) * 1e3:.1f} ms (this process came up to {late * 1e3:.1f} ms late)"
    check("within 50 ms", told - asked <= 0.05 + late, figures)

    await above_the_limit(feed, comes_back, "comes back")
    await asyncio.sleep(asked + 2 - time.monotonic())
    await comes_back.say(RESUME)
    check("one gets what waits after 2 s", await comes_back.until(0.9, lambda reader: len(reader.sequence()) == 45))
    again, _ = await above_the_limit(feed, comes_back, "comes back")

    closed = await stays.until(5, lambda reader: reader.closed)
    check("the other is closed", closed)
    (at, code), late = stays.closed, lateness.worst_since(answered)
    check("with 1008", code == 1008, str(code))
    figures = f"{at - asked:.3f} s after the order to publish, {at - answered:.3f} s after the answer"
    check("in (3.0, 3.5] s", at - asked > 3 and at - answered <= 3.5 + late, f"{figures} (up to {late * 1e3:.1f} ms late)")

    await asyncio.sleep(asked + 3.9 - time.monotonic())
    check("who came back to the limit after 2 s is not closed after 3 s", comes_back.closed is None)
    await comes_back.until(5, lambda reader: reader.closed)
    at, code = comes_back.closed or (again, None)
    check("but 3 s after it went above once more", code == 1008 and at - again > 3, f"{at - again:.3f} s, with {code}")


async def above_the_limit(feed, reader, topic):
    """Has a client pause, and more published than it may have waiting. Returns when that was asked for, and when it was done."""
    await reader.say(PAUSE)
    asked = time.monotonic()
    await feed.publish(topic=topic, count=45, bytes=100)
    return asked, time.monotonic()


async def sawtooth(feed, check, lateness):
    """Pause and resume alternate, one of each for a crossing of both marks, and none for a depth that hovers round one."""
    reader = await feed.reader(topic="saw", messages=50)
    for cycle in range(1, 6):
        await reader.say(PAUSE)
        await feed.publish(topic="saw", count=45, bytes=100)
        paused = await reader.until(2, lambda reader: len(reader.signals()) == 2 * cycle - 1)
        await reader.say(RESUME)
        read = await reader.until(2, lambda reader: len(reader.sequence()) == 45 * cycle)
        resumed = read and await reader.until(2, lambda reader: len(reader.signals()) == 2 * cycle)
        check(f"cycle {cycle} has one pause and one resume", paused and resumed)
    # What comes late comes before this.
    await reader.say(RESUME)
    check("they alternate", reader.signals() == ["flow.pause", "flow.resume"] * 5, f"{len(reader.signals())} signals")
    await reader.leave()

    await hovering(feed, check)


async def hovering(feed, check):
    """Holds a depth next to each mark: one more and one less is no crossing.

    The socket is stuck meanwhile, and a signal that is over before it could be written is not written: so what counts is what the
    server says of itself.
    """
    sipper = await feed.sipper(topic="marks", messages=50, bytes=8 * MIB)
    high, low = 38, 19
    near_high, near_low = [await fill_up_to(feed, high)], []
    paused_near_high, paused_near_low = [], []
    for _ in range(10):
        near_high.append(await sip_down_to(feed, sipper, high - 1))
        paused_near_high.append(await is_paused(feed))
        near_high.append(await fill_up_to(feed, high))
    await sip_down_to(feed, sipper, low)
    for _ in range(10):
        near_low.append(await fill_up_to(feed, low + 1))
        paused_near_low.append(await is_paused(feed))
        near_low.append(await sip_down_to(feed, sipper, low))
    await sip_down_to(feed, sipper, 0)
    await read_to_the_end(feed, sipper, "marks")
    signals = sipper.signals()
    figures = f"{sorted(set(near_high))} and {sorted(set(near_low))} of 50 waited, {len(signals)} signals"
    check("10 times below the high mark it stays paused", all(paused_near_high), f"{sum(paused_near_high)} of 10")
    check("10 times above the low mark it stays resumed", not any(paused_near_low), f"paused {sum(paused_near_low)} of 10 times")
    check("the client sees one crossing of each mark", signals == ["flow.pause", "flow.resume"], figures)
    sipper.leave()


async def waiting_for_the_only_member(feed):
    return (await feed.stats())["slowest"][0]["messages"]


async def is_paused(feed):
    return (await feed.stats())["slowest"][0]["paused"]


async def fill_up_to(feed, depth):
    """Publishes one message after the other until so many wait. Returns how many do."""
    while (waiting := await waiting_for_the_only_member(feed)) < depth:
        await feed.publish(topic="marks", bytes=64 * KIB)
    return waiting


async def sip_down_to(feed, sipper, depth):
    """Reads on until no more than so many messages wait. Returns how many do."""
    while (waiting := await waiting_for_the_only_member(feed)) > depth:
        await sipper.sip()
    return waiting


async def read_to_the_end(feed, sipper, topic):
    """Reads what is on its way, and two messages more that are published behind it."""
    await feed.publish(topic=topic, count=2)
    while sipper.sequence()[-1:] != [1]:
        await sipper.sip()


async def gaps(feed, check, lateness):
    """Ahead of the first message after a loss stands how many were lost, whichever policy lost them."""
    for policy in ("drop-oldest", "drop-newest"):
        sipper = await feed.sipper(topic=policy, policy=policy, messages=20)
        publishing = asyncio.create_task(feed.publish(topic=policy, count=1_000, bytes=8 * KIB, per_second=1_000))
        while not publishing.done():
            await sipper.sip()
            await asyncio.sleep(0.01)
        await sip_down_to(feed, sipper, 0)
        await read_to_the_end(feed, sipper, policy)
        lost = (await feed.stats())["slowest"][0]["dropped"]
        told = [number for _, _, number in sipper.of("flow.gap")]
        check(f"{policy}: each gap is as long as its marker says", told and gaps_between(sipper) == told, f"{len(told)} gaps")
        read = len(sipper.sequence())
        check(f"{policy}: what was read and what was lost is all", sum(told) == lost == 1_002 - read, f"{read} read, {lost} lost")
        sipper.leave()
        await feed.settled()


def gaps_between(sipper):
    """Returns how many messages are missing wherever some are: behind 1 000 came two more, numbered from 0."""
    sequence = sipper.sequence()
    positions = [-1, *sequence[:-2], 1_000, 1_001]
    return [after - before - 1 for before, after in zip(positions, positions[1:]) if after != before + 1]


async def disobedient(feed, check, lateness):
    """Who sends on after a pause is not read any more, until there is room: nothing is lost, and little is held."""
    before = (await feed.stats())["rss_kib"]
    resident = []
    async with meanwhile(sample_memory(feed, resident)):
        await flood(feed, check)
    grown = (max(resident) - before) / KIB
    check("32 MiB sent cost the server at most 8 MiB", grown <= 8, f"{grown:.1f} MiB at most, {len(resident)} times looked")


async def flood(feed, check):
    reader, blocked = await feed.reader(handle_ms=20), 0
    for _ in range(2_000):
        start = time.monotonic()
        await reader.connection.send("x" * (16 * KIB))
        blocked += time.monotonic() - start
    handled = (await feed.stats())["handled"]
    figures = f"{blocked:.1f} s; {handled} of 2000 were handled by then"
    check("sends wait for a server that takes 20 ms for each message", blocked > 10, figures)
    check("meanwhile it says pause, once", reader.signals() == ["flow.pause"])
    stats, _ = await feed.until(60, lambda stats: stats["handled"] >= 2_000)
    check("in the end all 2000 are handled", stats["handled"] == 2_000, str(stats["handled"]))
    resumed = await reader.until(2, lambda reader: reader.signals() == ["flow.pause", "flow.resume"])
    check("and it says resume, once", resumed)
    await reader.leave()


async def sample_memory(feed, resident):
    while True:
        resident.append((await feed.stats())["rss_kib"])
        await asyncio.sleep(0.05)


async def obedient(feed, check, lateness):
    """Who sends nothing between pause and resume is never blocked."""
    began, longest = time.monotonic(), 0
    reader = await feed.reader(handle_ms=20)
    for _ in range(300):
        while reader.signals()[-1:] == ["flow.pause"]:
            await asyncio.sleep(0.002)
        start = time.monotonic()
        await reader.connection.send("x" * (64 * KIB))
        longest = max(longest, time.monotonic() - start)
        # What the server says is read meanwhile.
        await asyncio.sleep(0.001)
    late = lateness.worst_since(began)
    figures = f"{longest * 1e3:.1f} ms (this process came up to {late * 1e3:.1f} ms late)"
    check("who obeys is blocked in no send for 100 ms", longest <= 0.1 + late, figures)
    stats, _ = await feed.until(10, lambda stats: stats["handled"] >= 300)
    check("all that it sent is handled", stats["handled"] == 300, f"{stats['handled']} of 300")
    rounds = len(reader.signals()) // 2
    in_turns = await reader.until(2, lambda reader: alternate(reader.signals()))
    check("it was told pause and resume in turns", in_turns and rounds >= 5, f"{rounds} times")
    await reader.leave()


async def bad_input(feed, check, lateness):
    """Whatever clients send, the server lives, its memory comes back, and those of another topic get all that is theirs."""
    before = (await feed.stats())["rss_kib"]
    witness, over = await feed.reader(topic="other", messages=1_000), asyncio.Event()
    async with meanwhile(publish_until(over, feed.beside(), "other")) as witnessing:
        for evil in (too_big, broken, flips, held_for_ever, vanishing):
            await evil(feed, check)
            stats, _ = await feed.until(2, lambda stats: stats["members"] == stats["connections"] == 1)
            left = stats["members"], stats["connections"]
            check(f"once they are gone nobody is left but who listens ({evil.__name__})", left == (1, 1), f"{left}")
        over.set()
        published = await witnessing
    heard = await witness.until(2, lambda reader: len(reader.all) >= published)
    complete = heard and len(witness.sequence()) == len(witness.all) == published >= 100
    check("who listens to another topic gets all of it meanwhile", complete, f"{len(witness.sequence())} of {published}")
    await witness.leave()
    grown = ((await feed.stats())["rss_kib"] - before) / KIB
    check("after all of that the server has grown by at most 25 MiB", grown <= 25, f"{grown:.1f} MiB")


async def publish_until(over, feed, topic):
    """Publishes 250 messages a second. Returns how many there were."""
    published = 0
    while not over.is_set():
        published += (await feed.publish(topic=topic, count=25, per_second=250, bytes=1_000))["admitted"]
    return published


async def too_big(feed, check):
    """The server takes messages of 1 MiB."""
    for what, message in {"one frame": "x" * (64 * MIB), "64 frames": ["x" * MIB] * 64}.items():
        client = await feed.connect()
        with suppress(ConnectionClosed):
            await client.send(message)
        with suppress(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 5)
        check(f"64 MiB of text in {what} end the connection", client.close_code is not None, f"code {client.close_code}")


async def broken(feed, check):
    """Text that is no JSON goes to the application, binary frames to nobody, text that is no text ends the connection."""
    texts = ["", "{", '{"event":"flow.pause"', "[" * 100_000, '{"event":7}', "\0", '{"event":"flow.\U0001f600"}', '"flow.']
    handled = (await feed.stats())["handled"]
    reader = await feed.reader(topic="broken")
    for text in texts * 10:
        await reader.connection.send(text)
        await reader.connection.send(text.encode() + b"\xff" * 1_000)
    wanted = handled + 10 * len(texts)
    stats, _ = await feed.until(2, lambda stats: stats["handled"] >= wanted)
    await feed.publish(topic="broken")
    lives = await reader.until(2, lambda reader: reader.sequence() == [0])
    figures = f"{stats['handled'] - handled} handled of {10 * len(texts)}"
    check("broken texts are handed on, and binary frames are not", stats["handled"] == wanted and lives, figures)
    with suppress(ConnectionClosed):
        await reader.connection.send(b"\xc3\x28", text=True)
    check("text that is not UTF-8 ends the connection", await reader.until(2, lambda reader: reader.closed))


async def flips(feed, check):
    """Pauses and resumes as fast as the network takes them, while messages are published."""
    sipper = await feed.sipper(topic="flips", messages=50)
    flip = b"".join(Frame(Opcode.TEXT, text.encode()).serialize(mask=True) for text in (PAUSE, RESUME))
    publishing = asyncio.create_task(feed.publish(topic="flips", count=1_000, per_second=2_000))
    began = time.monotonic()
    flipping = asyncio.create_task(sipper.send(flip * 50_000))
    while not (flipping.done() and publishing.done()):
        await sipper.sip_what_is_there()
    took = time.monotonic() - began
    await read_to_the_end(feed, sipper, "flips")
    told, read = sum(number for _, _, number in sipper.of("flow.gap")), len(sipper.sequence())
    figures = f"{took:.1f} s; {read} read, {told} told lost, {len(sipper.signals())} signals"
    complete = read + told == 1_002 and alternate(sipper.signals())
    check("after 100 000 flips of pause and resume nothing is missing", complete, figures)
    sipper.leave()


async def held_for_ever(feed, check):
    """A client that never wants its data keeps no more than its bounds."""
    reader = await feed.reader(topic="held", messages=50, bytes=MIB)
    await reader.say(PAUSE)
    await feed.publish(topic="held", count=960, bytes=64 * KIB)
    held = [member for member in (await feed.stats())["slowest"] if member["held"]]
    bounded = [(member["messages"], member["bytes"] <= MIB, member["dropped"]) for member in held] == [(16, True, 944)]
    check("60 MB for who has paused for ever keep 1 MiB", bounded, f"{held}")
    check("of which it gets none", reader.sequence() == [])
    await reader.leave()


async def vanishing(feed, check):
    """Peers vanish without a word, also in the middle of what they get and of what they send."""
    before = await feed.stats()
    for turn in range(5):
        clients = [await feed.connect(topic="vanish") for _ in range(20)]
        publishing = asyncio.create_task(feed.publish(topic="vanish", count=200, bytes=16 * KIB))
        for client in clients:
            client.transport.write(Frame(Opcode.TEXT, b"x" * 1_000).serialize(mask=True)[: 100 * turn])
            await asyncio.sleep(0)
        vanish(clients)
        await publishing
    after, gone = await feed.until(2, lambda stats: all(stats[count] <= before[count] for count in COUNTS))
    figures = ", ".join(f"{count} {after[count]} (before: {before[count]})" for count in COUNTS)
    check("100 peers that vanish leave nothing", gone is not None, figures)


async def drain(feed, check, lateness):
    """All are sent away within the time, one after the other, and nobody comes in."""
    over_ms, readers = 2_000, [await feed.reader() for _ in range(50)]
    began = time.monotonic()
    draining = asyncio.create_task(feed.drain(over_ms))
    answered = await asyncio.wait_for(draining, 10)
    await until(2, lambda: all(reader.closed for reader in readers))
    late = lateness.worst_since(began)

    codes = {reader.closed and reader.closed[1] for reader in readers}
    check("a drain ends all 50 connections with 1012", codes == {1012}, f"{codes}")
    after = sorted(reader.closed[0] - began for reader in readers)
    figures = f"the first after {after[0]:.2f} s, the last after {after[-1]:.2f} s; answered after {answered['took_ms']} ms"
    check("none before its turn", all(at >= turn * over_ms / 1e3 / 50 for turn, at in enumerate(after)), figures)
    check("the last a second after its turn at the latest", after[-1] <= over_ms / 1e3 + 1 + late)

    with suppress(ConnectionClosed, InvalidHandshake, OSError):
        late_comer = await feed.connect()
        await asyncio.wait_for(late_comer.wait_closed(), 2)
    stats = await feed.stats()
    check("nobody can join afterwards", (stats["members"], stats["connections"]) == (0, 0))


def alternate(signals):
    """Whether each pause has its resume."""
    return signals == ["flow.pause", "flow.resume"] * (len(signals) // 2)


def vanish(clients):
    for client in clients:
        client.transport.abort()


COUNTS = ("members", "connections", "fds", "tasks", "bytes")
BESIDE = (disobedient, obedient)
IN_TURN = (memory, policies, hard_limit, soft_limit, sawtooth, gaps, bad_input, drain)


async def run(binary, only, asked_otherwise):
    report, lateness = Report(), Lateness()

    async def group(checks):
        check = partial(report.check, checks.__name__)
        try:
            async with serving(binary, asked_otherwise) as feed:
                await checks(feed, check, lateness)
        except (OSError, ConnectionClosed, HTTPException) as error:
            traceback.print_exc()
            check("ends", False, repr(error))

    # These take their time and little of the processor.
    async with asyncio.TaskGroup() as beside:
        for checks in BESIDE:
            if only in (None, checks.__name__):
                beside.create_task(group(checks))
        for checks in IN_TURN:
            if only in (None, checks.__name__):
                await group(checks)
    print(f"{report.passed} passed, 0 failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("--only", choices=[checks.__name__ for checks in IN_TURN + BESIDE])
    parser.add_argument("--ask", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    asked_otherwise = dict(asked.split("=", 1) for asked in arguments.ask)
    try:
        asyncio.run(run(arguments.server, arguments.only, asked_otherwise))
    except* Failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
