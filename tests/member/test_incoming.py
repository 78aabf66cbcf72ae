import gc
import weakref

from core.worlds import workload

from ambient.core.delta import Delta
from ambient.core.snapshot import EMPTY
from ambient.member.incoming import Incoming
from ambient.member.mesh import in_packets
from ambient.rpc.encoding import encode_delta

POD, OTHER = workload("pod", "10.0.0.1"), workload("other", "10.0.0.2")


def payload(*resources):
    ((_, encoded),) = in_packets(encode_delta(Delta(resources)))
    return encoded


def test_an_update_is_in_force_when_all_of_it_has_come():
    incoming = Incoming()
    assert incoming.take(EMPTY, payload(POD), more=True) is None
    after = incoming.take(EMPTY, payload(OTHER), more=False)
    assert set(after.workloads) == {POD.uid, OTHER.uid}
    again = incoming.take(after, payload(), more=False)
    assert again.workloads == after.workloads


def test_what_was_not_whole_when_its_sender_went_is_forgotten():
    incoming = Incoming()
    incoming.take(EMPTY, payload(POD), more=True)
    incoming.forget()
    assert set(incoming.take(EMPTY, payload(OTHER), more=False).workloads) == {OTHER.uid}


def test_the_collector_rests_only_while_a_mesh_comes():
    incoming = Incoming()
    incoming.take(EMPTY, payload(POD), more=True)
    assert not gc.isenabled()
    incoming.take(EMPTY, payload(OTHER), more=False)
    assert gc.isenabled()
    incoming.take(EMPTY, payload(POD), more=True)
    incoming.forget()
    assert gc.isenabled()
    gc.unfreeze()


def test_what_lives_while_a_later_update_comes_is_collected_when_it_is_garbage():
    class Connection:
        pass

    incoming = Incoming()
    for _ in range(2):
        incoming.take(EMPTY, payload(POD), more=True)
        connection = Connection()
        connection.transport = [connection]
        incoming.take(EMPTY, payload(OTHER), more=False)
    gone = weakref.ref(connection)
    del connection
    gc.collect()
    assert gone() is None
    gc.unfreeze()
