// Large pages, for memory that Python has made.
#include "memory.h"
#include "ossia_cpu.h"

void ossia_ask_for_large_pages(void* memory, int64_t bytes) { ossia::ask_for_large_pages(memory, bytes); }
void ossia_page_out(const void* memory, int64_t bytes) { ossia::page_out(memory, bytes); }
