"""ZDS, how a node's daemon and its proxy speak: typed messages, and the socket that carries them with descriptors.

One message is one packet of a unix ``SOCK_SEQPACKET`` socket. The daemon listens. It sends orders, one at a time
(``Ack`` carries no number), and the proxy may ask for things meanwhile (``Result`` carries the number of the
question). Descriptors that are sent stay the sender's; descriptors that are received are the receiver's to close.
Source: ``proto/istio/zds/zds.proto``; numbers from 1000 on are extension ``ambient.v1``.
"""

from ambient.aio.packets import close_fds
from ambient.rpc.zds.client import UNANSWERED_LIMIT, ZdsClient
from ambient.rpc.zds.codec import PACKET_LIMIT, decode_hello, decode_request, decode_response, encode
from ambient.rpc.zds.connection import SOCKET_NAME, ZdsSocket, serve
from ambient.rpc.zds.messages import (
    AMBIENT_V1,
    Ack,
    AddWorkload,
    DelWorkload,
    Deposit,
    Deposited,
    DestroyConnections,
    Hello,
    KeepWorkload,
    ListConnections,
    Message,
    Order,
    Question,
    Result,
    Returned,
    SetCapture,
    SnapshotSent,
    UnusableOrder,
    Welcome,
    WorkloadInfo,
    results,
)

__all__ = [
    "AMBIENT_V1",
    "PACKET_LIMIT",
    "SOCKET_NAME",
    "UNANSWERED_LIMIT",
    "Ack",
    "AddWorkload",
    "DelWorkload",
    "Deposit",
    "Deposited",
    "DestroyConnections",
    "Hello",
    "KeepWorkload",
    "ListConnections",
    "Message",
    "Order",
    "Question",
    "Result",
    "Returned",
    "SetCapture",
    "SnapshotSent",
    "UnusableOrder",
    "Welcome",
    "WorkloadInfo",
    "ZdsClient",
    "ZdsSocket",
    "close_fds",
    "decode_hello",
    "decode_request",
    "decode_response",
    "encode",
    "results",
    "serve",
]
