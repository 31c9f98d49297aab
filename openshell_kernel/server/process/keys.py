"""The key by which a kernel knows its clients: a new one at each restart, where all of its clients learn of it.

What a kernel was allowed before its restart may be less than what it is allowed after, and whoever knew its key could
run code in it. A process that the old kernel left, or another kernel that it told, knows the old key.

Jupyter's server gives the key to each websocket when that is opened, and to its watch over the kernel's activity. Both
are told here. A program's own client copies the key for good, and would refuse what the old kernel has sent last: where
there is one, the key stays. So do the keys of encryption, which sockets take only when they connect: with them the
kernel can be overheard, and nothing be sent to it.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, cast

from jupyter_client.session import Session, new_id_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_client.manager import KernelManager

_CHANNELS = "jupyter_server.services.kernels.connection.channels"


class Key:
    """The key of one kernel, from its first start on: knows whether a program has made a client that copied it."""

    def __init__(self, manager: KernelManager) -> None:
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._is_new = False
        session: Any = manager.session
        # `KernelManager.client` clones the session for each client, and nothing tells of it.
        clone, session.clone = session.clone, lambda: self._noted(clone())

    def renew(self, manager: KernelManager) -> None:
        """Give a kernel that is not running a new key and connection file, unless its clients need the old one.

        Call `tell_watch` when it runs again.
        """
        connections = _connections(manager)
        self._is_new = not self._sessions and connections is not None and bool(manager.session.key)
        if not self._is_new:
            return
        key = new_id_bytes()
        manager.session.key = key
        for connection in connections or ():
            connection.session.key = key
        manager.cleanup_connection_file()

    def tell_watch(self, manager: KernelManager, kernel_id: str) -> None:
        """Let Jupyter's server watch the kernel's activity with the new key, if there is one and it watches.

        Not by its `stop_watching_activity`, which would give up a restart whose end somebody waits for.
        """
        server, stream = cast("Any", manager.parent), getattr(manager, "_activity_stream", None)
        if self._is_new and stream is not None:
            stream.close()
            server.start_watching_activity(kernel_id)

    def _noted(self, session: Session) -> Session:
        self._sessions.add(session)
        return session


def _connections(manager: KernelManager) -> list[Any] | None:
    """Return the websockets of a kernel; None where it is no kernel of a Jupyter server's that tells them.

    Nothing public lists them. jupyter_server (2.0 to 2.21 at least) keeps all of its process in a class attribute.
    """
    server = manager.parent
    if not hasattr(server, "start_watching_activity"):
        return None
    module = sys.modules.get(_CHANNELS)
    opened = getattr(getattr(module, "ZMQChannelsWebsocketConnection", None), "_open_sockets", None)
    return None if opened is None else list(_of(manager, opened))


def _of(manager: KernelManager, connections: Any) -> Iterator[Any]:  # noqa: ANN401 - a set of jupyter_server's
    for connection in list(connections):
        if getattr(connection, "kernel_manager", None) is manager:
            yield connection
