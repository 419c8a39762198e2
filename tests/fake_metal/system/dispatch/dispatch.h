// SPDX-License-Identifier: Apache-2.0
// What metal-cpp uses of Apple's header of this name.
#pragma once
typedef struct dispatch_queue_s* dispatch_queue_t;
typedef struct dispatch_data_s* dispatch_data_t;
