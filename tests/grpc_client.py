"""A foreign client of `demo.Feed`: grpcio, which shares no code with the server.

usage: grpc_client.py HOST:PORT

Calls until it is refused, reads from the refusal when to come back, comes back then and is answered; and reads a stream
slowly. Prints what it saw; ends with 1 where that is not what the server promises. Needs grpcio and grpcio-status.
"""

import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

MOST_CALLS = 1_000
MESSAGE_BYTES = 16 * 1024


def main(address):
    # Messages are bytes here: what is in them is the business of another test, except for their length.
    with grpc.insecure_channel(address) as channel:
        unary = channel.unary_unary("/demo.Feed/Unary")
        stream = channel.unary_stream("/demo.Feed/Stream")
        # A client that this server has not seen.
        metadata = (("x-api-key", str(uuid.uuid4())),)

        answered, refusal = call_until_refused(unary, metadata)
        print(f"answered {answered} calls, then {refusal.code().name}: {refusal.details()}")
        check("some calls are answered", answered > 0)
        check("a used up quota is RESOURCE_EXHAUSTED", refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)

        wait = retry_delay(refusal)
        pushback = int(dict(refusal.trailing_metadata())["grpc-retry-pushback-ms"])
        print(f"RetryInfo says {wait} ns, the pushback {pushback} ms; {violated(refusal)} was violated")
        check("the delay is a time to come", wait > 0)
        check("the pushback is the delay, rounded up", pushback == -(-wait // 1_000_000))
        check("the violated policy is named", violated(refusal).startswith("policy:"))

        refused_stream = next_error(stream(b"", metadata=metadata, timeout=10))
        check("a stream is refused like a call", refused_stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)

        time.sleep(retry_delay(refused_stream) / 1e9)
        unary(b"", metadata=metadata, timeout=10)
        print("came back then, once: answered")

        read = read_slowly(stream(b"", metadata=(("x-api-key", str(uuid.uuid4())),), timeout=30), 100)
        print(f"read {read} messages of a stream, with pauses")
        check("the stream goes on", read == 100)


def call_until_refused(unary, metadata):
    for answered in range(MOST_CALLS):
        try:
            unary(b"", metadata=metadata, timeout=10)
        except grpc.RpcError as refusal:
            return answered, refusal
    sys.exit(f"{MOST_CALLS} calls were answered and none refused")


def next_error(messages):
    try:
        next(messages)
    except grpc.RpcError as error:
        return error
    sys.exit("the stream was not refused")


def details(refusal, kind):
    """Returns the detail of this kind from google.rpc.Status."""
    status = rpc_status.from_call(refusal)
    said = (refusal.code().value[0], refusal.details())
    check("code and message of the details are those of the call", (status.code, status.message) == said)
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            return detail
    sys.exit(f"there is no {kind.DESCRIPTOR.full_name}")


def retry_delay(refusal):
    """Returns the nanoseconds of the RetryInfo."""
    return details(refusal, error_details_pb2.RetryInfo).retry_delay.ToNanoseconds()


def violated(refusal):
    return details(refusal, error_details_pb2.QuotaFailure).violations[0].subject


def read_slowly(messages, count):
    read = 0
    for message in messages:
        check("a message has its payload", len(message) >= MESSAGE_BYTES)
        read += 1
        if read % 20 == 0:
            # Long enough for the server to fill every window: it has to stop, and to go on.
            time.sleep(0.05)
        if read == count:
            messages.cancel()
            return read
    return read


def check(what, holds):
    if not holds:
        sys.exit(f"not so: {what}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
