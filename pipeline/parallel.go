package pipeline

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
)

// memoryOfABuild is how much memory is taken to be free for each image that is built at
// the same time as others: shipit itself needs a few hundred megabytes for a large one,
// and package managers and compilers as much again.
const memoryOfABuild = 1 << 30

// atOnce is how many of some images are built at the same time: as many as there are
// CPUs and memory for, and at least one.
func atOnce(images int) int {
	n := min(images, runtime.GOMAXPROCS(0))
	if free := freeMemory(); free > 0 {
		n = min(n, int(free/memoryOfABuild))
	}
	return max(1, n)
}

// freeMemory is how many bytes the kernel can give out without swapping; 0 if it does not
// say so.
func freeMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	var kib int64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}
