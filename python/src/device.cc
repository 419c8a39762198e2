// SPDX-License-Identifier: Apache-2.0
// Devices, streams, graphs.
#include <memory>

#include "binding.h"

namespace mlxn::python {
namespace {

Device open_device(const std::string& id, int num_threads, const std::string& kernel, bool strict) {
  const nb::gil_scoped_release no_gil;
  return Device::open(id, {.num_threads = num_threads, .kernel = kernel, .strict = strict});
}

nb::list list_devices() {
  nb::list devices;
  for (const DeviceInfo& info : Device::list()) {
    nb::dict d;
    d["id"] = info.id;
    d["description"] = text_of(info.description);
    d["kind"] = std::string(name(info.kind));
    d["available"] = info.available;
    d["reason"] = info.reason;
    d["memory_total"] = info.memory.total;
    d["memory_free"] = info.memory.free;
    d["driver"] = info.driver;
    devices.append(d);
  }
  return devices;
}

nb::list doctor_reports(const Device& device) {
  nb::list reports;
  for (const KernelReport& report : doctor(device)) {
    nb::list entries;
    for (const KernelReport::Entry& entry : report.entries) {
      entries.append(nb::make_tuple(entry.name, std::string(name(entry.device)), entry.refusal));
    }
    reports.append(nb::make_tuple(report.op, report.chosen, entries));
  }
  return reports;
}

nb::dict counters_of(SharedStream& stream) {
  const StreamCounters c = stream.use([](Stream& s) { return s.counters(); });
  nb::dict d;
  d["dispatches"] = c.dispatches;
  d["barriers"] = c.barriers;
  d["automatic_barriers"] = c.automatic_barriers;
  d["concurrent"] = c.concurrent;
  d["commits"] = c.commits;
  d["waits"] = c.waits;
  return d;
}

}  // namespace

void bind_device(nb::module_& m) {
  nb::class_<Device>(m, "Device", "Where buffers live and recorded work runs.")
      .def_static("open", &open_device, "id"_a = "best", nb::kw_only(), "num_threads"_a = 0,
                  "kernel"_a = "", "strict"_a = false,
                  "'cpu', 'cuda:N', 'metal:N', or 'best': the first usable GPU, else the CPU. "
                  "num_threads 0: all cores.")
      .def_static("list", &list_devices, "Every device this build knows of, as dicts.")
      .def_prop_ro("kind", [](const Device& d) { return std::string(name(d.kind())); })
      .def_prop_ro("name", [](const Device& d) { return text_of(d.name()); })
      .def_prop_ro("index", &Device::index, "N of 'cuda:N'.")
      .def_prop_ro("num_threads", &Device::num_threads)
      .def_prop_ro("isa", [](const Device& d) { return std::string(name(d.isa())); })
      .def_prop_ro("host_visible", &Device::host_visible)
      .def_prop_ro("allocated_bytes", &Device::allocated_bytes)
      .def_prop_ro("peak_allocated_bytes", &Device::peak_allocated_bytes)
      .def("doctor", &doctor_reports, "[(op, chosen entry, [(entry, device, refusal)])]")
      .def("__eq__",
           [](const Device& a, nb::handle b) {
             return nb::isinstance<Device>(b) && a.impl() == nb::cast<const Device&>(b).impl();
           })
      .def("__hash__", [](const Device& d) { return std::hash<const void*>()(d.impl().get()); })
      .def("__repr__", [](const Device& d) {
        return "<mlxn.Device " + std::string(name(d.kind())) + ": " + text_of(d.name()) + ">";
      });
  nb::class_<Graph>(m, "Graph", "Recorded dispatches, ready to replay.")
      .def_prop_ro("dispatch_count", &Graph::dispatch_count)
      .def_prop_ro("barrier_count", &Graph::barrier_count);
  nb::class_<SharedStream>(m, "Stream",
                           "Records work for one device, in order; hazards are tracked.")
      .def("__init__", [](SharedStream* s, const Device& d) { new (s) SharedStream(Stream(d)); })
      .def_static(
          "on",
          [](const Device& d, uintptr_t native) {
            return std::make_unique<SharedStream>(Stream::on(d, reinterpret_cast<void*>(native)));
          },
          "device"_a, "native"_a,
          "On a cudaStream_t of the caller, such as torch.cuda.current_stream().cuda_stream.")
      .def_prop_ro("device", [](SharedStream& s) { return s.value.device(); })
      .def("commit", &call<&Stream::commit, Stream>, "Runs what was recorded.")
      .def("wait", &call<&Stream::wait, Stream>, "Waits for committed work.")
      .def("discard", &call<&Stream::discard, Stream>, "Drops what was recorded but not committed.")
      .def("barrier", &call<&Stream::barrier, Stream>,
           "What follows waits for what came before; hazards between ops need none.")
      .def("begin_capture", &call<&Stream::begin_capture, Stream>,
           "What is recorded from here on becomes a graph.")
      .def(
          "end_capture",
          [](SharedStream& s, bool fuse, bool reorder) {
            return s.use([=](Stream& stream) {
              return stream.end_capture({.fuse = fuse, .reorder = reorder});
            });
          },
          nb::kw_only(), "fuse"_a = false, "reorder"_a = false,
          "fuse: ops that a kernel can do as one become one. reorder: independent ops run "
          "together.")
      .def(
          "replay",
          [](SharedStream& s, const Graph& g) { s.use([&](Stream& st) { st.replay(g); }); },
          "graph"_a, "Records a graph's work once more, on the same buffers.")
      .def_prop_ro("counters", &counters_of);
}

}  // namespace mlxn::python
