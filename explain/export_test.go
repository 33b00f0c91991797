package explain

// What the tests of this package call, and nobody else.
var All = all
