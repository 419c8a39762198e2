// SPDX-License-Identifier: Apache-2.0
#include "backends/emulator/fiber.h"

#include <cstdint>
#include <cstring>

namespace mlxn::backends::emulator {

#if defined(__x86_64__)

// It ends in ret, not in pop and jmp: fibres switch from one call chain to the same call chain, so
// the return predictor stays right.
asm(R"(
.text
.globl mlxn_emulator_switch
.type mlxn_emulator_switch,@function
mlxn_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size mlxn_emulator_switch,.-mlxn_emulator_switch
)");

void* prepare_stack(char* top, void (*entry)()) {
  constexpr int kSaved = 6;  // registers popped before ret
  auto* sp = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15}) - 16);
  *sp = reinterpret_cast<void*>(entry);  // after ret the stack is misaligned by 8, as after a call
  std::memset(sp - kSaved, 0, kSaved * sizeof(void*));
  return sp - kSaved;
}

#elif defined(__aarch64__)

asm(R"(
.text
.globl mlxn_emulator_switch
.type mlxn_emulator_switch,%function
mlxn_emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size mlxn_emulator_switch,.-mlxn_emulator_switch
)");

void* prepare_stack(char* top, void (*entry)()) {
  constexpr size_t kFrame = 160, kLinkRegister = 88;
  char* sp = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15}) - kFrame;
  std::memset(sp, 0, kFrame);
  std::memcpy(sp + kLinkRegister, &entry, sizeof entry);
  return sp;
}

#else
#error "the emulator switches stacks on x86-64 and aarch64 only; configure with -DMLXN_EMULATOR=OFF"
#endif

}  // namespace mlxn::backends::emulator
