"""TLS before a server on the host, which guests reach as 10.0.2.2: the certificate is for that address, and valid until 2060."""
import asyncio, ssl, threading
import certificate  # of tests/lib


class Front:
    def __init__(self, folder, port):
        chain = certificate.make(folder, "10.0.2.2")
        with open(chain[0]) as f:
            self.authority = f.read()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*chain)
        self.behind, self.loop = port, asyncio.new_event_loop()
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context))
        self.guest = f"10.0.2.2:{server.sockets[0].getsockname()[1]}"
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    async def serve(self, reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)


async def copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # a guest whose power was cut
    writer.close()
