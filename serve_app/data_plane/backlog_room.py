"""Room of a backlog: the rows and bytes that may wait in it, counted as they come and go."""

import threading


class BacklogRoom:
    """Room for `most_rows` rows in at most `most_bytes` of memory. Safe to use from several threads."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self.rows = self.bytes = 0

    def take(self, rows: int, memory: int) -> bool:
        """True where there is room, which is then taken."""
        with self._lock:
            if self.rows + rows > self._most_rows or self.bytes + memory > self._most_bytes:
                return False
            self.rows += rows
            self.bytes += memory
            return True

    def give_back(self, rows: int, memory: int) -> None:
        """Makes room again."""
        with self._lock:
            self.rows -= rows
            self.bytes -= memory
