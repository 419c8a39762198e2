# SPDX-License-Identifier: Apache-2.0
"""Arrays in and out: what is shared, what is copied, what is refused."""
import gc
import sys
import threading
import weakref

import ml_dtypes
import mlxn
import numpy as np
import pytest
from mlxn import ops


def address(x):
    return x.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.uint8, np.uint16, np.uint32, np.int32])
def test_numpy_goes_in_and_out_without_a_copy(dtype):
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    b = mlxn.array(x)
    assert b.shape == (2, 3, 4) and b.address == address(x) and not b.writable and b.nbytes == x.nbytes
    back = np.asarray(b)
    assert back.dtype == x.dtype and address(back) == address(x) and not back.flags.writeable
    np.testing.assert_array_equal(back, x)


def test_dlpack_out_shares_memory():
    b = mlxn.Buffer.alloc(mlxn.device(), [3, 4])
    b[1, 2] = 5
    view = np.from_dlpack(b)
    assert view[1, 2] == 5 and address(view) == b.address and b.__dlpack_device__() == (1, 0)


def test_memory_lives_as_long_as_somebody_needs_it():
    class Owned(np.ndarray):
        pass

    x = np.arange(4, dtype=np.float32).view(Owned)
    gone = weakref.ref(x)
    b = mlxn.array(x)
    view = b.numpy()
    del x, b
    gc.collect()
    assert gone() is not None and view[3] == 3
    del view
    gc.collect()
    assert gone() is None
    part = mlxn.Buffer.alloc(mlxn.device(), [1 << 22])[-4:]
    assert part.base is not None and part.tolist() == [0.0] * 4


def test_strides_and_odd_addresses_are_copied():
    x = np.arange(48, dtype=np.float32).reshape(4, 12)
    odd = np.frombuffer(b"?" + np.arange(5, dtype=np.float32).tobytes(), np.uint8)[1:].view(np.float32)
    for view in (x.T, x[:, ::3], x[::-1], x[1:3, 2:5], odd, np.broadcast_to(np.float32(2), (3, 3))):
        np.testing.assert_array_equal(ops.scale(view, 2.0).numpy(), view * 2)
    assert mlxn.array(x[1:3]).address == address(x[1:3])


def test_lists_and_integers_are_converted():
    assert mlxn.array([[1, 2], [3, 4]]).dtype == "f32"
    assert mlxn.array([1, 2], dtype="i32").dtype == "i32"
    with pytest.raises(mlxn.InvalidArgumentError, match="ids: found 5000000000"):
        ops.embed(np.ones((4, 8), np.float32), np.array([5_000_000_000]))


@pytest.mark.parametrize("bad", [np.ones(3), np.ones(3, np.int64), np.ones(3, np.complex64), np.ones(3, ">f4"), np.array(["a"]),
                                 np.array([None]), np.zeros((0, 3), np.float32), object()])
def test_what_no_op_takes_is_a_typed_error(bad):
    with pytest.raises((mlxn.InvalidArgumentError, TypeError, ValueError)):
        ops.softmax(bad)


def test_out_takes_the_result_where_it_lies():
    x = np.ones((3, 4), np.float32)
    out = np.empty_like(x)
    assert ops.scale(x, 3.0, out=out) is out and (out == 3).all()
    assert ops.scale(x, 2.0, out=x) is x and (x == 2).all()
    both = np.arange(10, dtype=np.float32)
    ops.scale(both[:8], 2.0, out=both[2:])  # overlaps: the input is copied
    np.testing.assert_array_equal(both, [0, 1, *(2 * np.arange(8))])
    frozen = np.ones(4, np.float32)
    frozen.flags.writeable = False
    for bad in (frozen, np.ones((4, 2), np.float32)[:, 0], np.ones(5, np.float32), np.ones(4, np.float16)):
        with pytest.raises(mlxn.InvalidArgumentError):
            ops.scale(np.ones(4, np.float32), 2.0, out=bad)


def test_views():
    b = mlxn.array(np.arange(24, dtype=np.float32).reshape(4, 6))
    np.testing.assert_array_equal(b.rows(1, 2).numpy(), b.numpy()[1:3])
    assert b.reshape([2, 12]).shape == (2, 12) and b.view_as("u8", [96]).dtype == "u8" and len(b) == 4
    assert "f32[4, 6] on cpu" in repr(b)
    with pytest.raises(mlxn.InvalidArgumentError):
        b.rows(3, 2)


def test_explicit_streams_record_and_replay():
    stream = mlxn.Stream(mlxn.device())
    x, y = mlxn.Buffer.alloc(mlxn.device(), [2, 8]), mlxn.Buffer.alloc(mlxn.device(), [2, 8])
    stream.begin_capture()
    ops.add(x, y, out=y, stream=stream)
    ops.scale(y, 2.0, out=y, stream=stream)
    graph = stream.end_capture()
    assert graph.dispatch_count == 2 and graph.barrier_count == 1
    x[:] = 1
    for _ in range(3):
        stream.replay(graph)
    stream.commit()
    stream.wait()
    assert (y.numpy() == 14).all() and stream.counters["commits"] == 1
    with pytest.raises(mlxn.InvalidArgumentError, match="Buffer with stream="):
        ops.scale(x, 2.0, out=np.empty((2, 8), np.float32), stream=stream)


def test_devices_describe_themselves():
    cpu = mlxn.device("cpu")
    assert cpu == mlxn.device() and cpu.kind == "cpu" and cpu.num_threads >= 1
    assert [d["id"] for d in mlxn.Device.list()][0] == "cpu"
    assert "rms_norm" in {op for op, _, _ in cpu.doctor()}
    with pytest.raises(mlxn.InvalidArgumentError, match="another device"):
        ops.add(mlxn.array([1.0]), mlxn.array([1.0], mlxn.Device.open("cpu")))


def test_work_lets_other_threads_run_and_threads_share_a_device():
    x = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((512, 512)).astype(np.float32)
    want, wrong = ops.matmul(x, w).numpy(), []

    def work():
        for _ in range(50):
            if not np.array_equal(ops.matmul(x, w).numpy(), want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_importing_needs_no_numpy():
    import subprocess

    code = "import sys, mlxn; assert 'numpy' not in sys.modules and mlxn.__version__"
    subprocess.run([sys.executable, "-c", code], check=True)
