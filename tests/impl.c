#define SKETCH_IMPLEMENTATION
#include "../sketch.h"
