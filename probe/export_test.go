package probe

// What the tests of this package call, and nobody else.
var (
	Compile     = compile
	FunctionsIn = functionsIn
)

type Answer = answer

// Holds is for the tests of this package.
func (e expression) Holds(a Answer) error { return e.holds(a) }
