"""A process that sends events to ingest until it is killed, and tells which were acknowledged."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import UUID

from serving.ingest.service import Ingest

SENDERS = 6


class Sender:
    """Such a process; events are numbered from ``first``."""

    def __init__(self, url: str, folder: Path, first: int) -> None:
        context = get_context("forkserver")  # what takes seconds to import is imported once
        context.set_forkserver_preload([__name__])
        self._told, telling = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=_main, args=(url, folder, first, telling), daemon=True
        )
        self.process.start()
        telling.close()

    def acknowledged(self) -> list[int]:
        """The next that were, as soon as there are any."""
        return self._told.recv()

    def kill(self) -> list[int]:
        """All that were acknowledged and not told yet."""
        self.process.kill()
        self.process.join()
        left = []
        while self._told.poll():
            try:
                left += self._told.recv()
            except EOFError:
                break
        return left


def _main(url: str, folder: Path, first: int, telling: Connection) -> None:
    asyncio.run(_send_for_ever(url, folder, count(first), telling))


async def _send_for_ever(url: str, folder: Path, numbers: count[int], telling: Connection) -> None:
    ingest = Ingest(lambda: url, folder)
    await ingest.start()

    async def send() -> None:
        while True:
            batch = [next(numbers) for _ in range(3)]
            checked = await ingest.check(
                [
                    {
                        "event_id": str(UUID(int=number)),
                        "item_id": "i",
                        "type": "view" if number % 3 else "?",
                        "occurred_at": datetime.now(UTC).isoformat() if number % 2 else None,
                    }
                    for number in batch
                ]
            )
            await ingest.write(checked)
            telling.send(batch)

    await asyncio.gather(*(send() for _ in range(SENDERS)))
