#include <assert.h>
#define SKI_ASSERT(condition) assert(condition)
#define SKETCH_IMPLEMENTATION
#include "../sketch.h"
