"""Carries one connection of the emulated network, on standard input and output,
to a port of this machine's loopback: QEMU starts one of it for each."""

import os
import socket
import sys
import threading

PIECE = 65536


def main():
    try:
        relay = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
    except OSError:
        # The guest sees its connection end, as with any relay that is down.
        return
    relay.settimeout(None)
    threading.Thread(target=to_guest, args=(relay,), daemon=True).start()
    try:
        while data := os.read(0, PIECE):
            relay.sendall(data)
    except OSError:
        pass


def to_guest(relay):
    """The end of one direction is the end of the connection, as for tunnels."""
    try:
        while data := relay.recv(PIECE):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view):]
    except OSError:
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
