package main

import (
	"fmt"
	"io"
	"strings"
)

// againLimit is how many tests may fail of which it is still believed that they failed by
// chance: if more do, the change is at fault.
const againLimit = 3

// outcomes are what became of the tests of a run.
type outcomes struct {
	failed []string        // "package Test", without subtests
	whole  map[string]bool // packages that failed and ran to their end
	broken bool            // a package did not compile, or died on the way
}

func (o *outcomes) take(e event) {
	switch {
	case e.Action == "output" && e.Test == "" && e.Output == "FAIL\n": // the last that a run with failed tests says
		o.whole[e.Package] = true
	case e.Action == "fail" && e.Test == "":
		o.broken = o.broken || !o.whole[e.Package]
	case e.Action == "fail" && !strings.Contains(e.Test, "/"):
		o.failed = append(o.failed, e.Package+" "+e.Test)
	}
}

// again runs each test that failed once more, alone. The exit code is 0 if all pass now:
// they are named at the end. Nothing is run again if many failed, or a package did not compile
// or died.
func (p *printer) again(o *outcomes, code int, errs io.Writer) int {
	if o.broken || len(o.failed) == 0 || len(o.failed) > againLimit {
		return code
	}
	for _, id := range o.failed {
		pkg, test, _ := strings.Cut(id, " ")
		fmt.Fprintf(p.out, "\n%s failed: it is run once more, alone\n", test)
		if code, _ := goTest([]string{"-count=1", "-timeout", "40m", "-run", "^" + test + "$", pkg}, p, errs); code != 0 {
			return code
		}
		p.chance = append(p.chance, id)
	}
	return 0
}
