// Pages of memory that Python has made or mapped.
#include "memory.h"
#include "ossia_cpu.h"

void ossia_ask_for_large_pages(void* memory, int64_t bytes) { ossia::ask_for_large_pages(memory, bytes); }
void ossia_page_out(const void* memory, int64_t bytes) { ossia::page_out(memory, bytes); }
void ossia_read_ahead(const void* memory, int64_t bytes) { ossia::read_ahead(memory, bytes); }
