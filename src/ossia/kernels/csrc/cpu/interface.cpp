#include "ossia_cpu.h"

const char* ossia_source_digest() { return OSSIA_SOURCE_DIGEST; }
