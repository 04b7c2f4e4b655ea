"""A Redis or Valkey server of one's own, whose every answer is on the disk first."""

import shutil
import socket
import subprocess
import time

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
NO_SERVER = "there is no redis-server or valkey-server (Debian's redis-server has one)"


class RedisServer:
    """Runs in a folder, where it finds its data again after a kill."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        options = ("--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", "")
        command = [PROGRAM, "--port", str(self.port), "--dir", str(self.folder), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", self.port)) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16).startswith(b"+PONG"):  # else it still reads its file
                        return
            except OSError:
                pass
            time.sleep(0.02)
        self.kill()
        raise TimeoutError("the server does not answer")

    def kill(self):
        self.process.kill()
        self.process.wait()
