// Package probe checks that a running role works: HTTP answers evaluated by CEL
// expressions, commands, synthetic events, registration, and which role owns which
// function.
package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
	"github.com/google/cel-go/parser"
	"google.golang.org/protobuf/types/known/structpb"
)

// ExpressionError is an invalid CEL expression.
type ExpressionError struct {
	Expression string
	Line       int // 1-based
	Column     int // 1-based
	Msg        string
}

func (e *ExpressionError) Error() string {
	if e.Line > 1 {
		return fmt.Sprintf("line %d, column %d of %q: %s", e.Line, e.Column, e.Expression, e.Msg)
	}
	return fmt.Sprintf("column %d of %q: %s", e.Column, e.Expression, e.Msg)
}

// expression is a compiled CEL expression over an answer.
type expression struct {
	text    string
	ast     *ast.AST
	program cel.Program
	tracked cel.Program // records intermediate values
}

// compile compiles CEL over the variables of an answer: status (int), headers
// (map, names in lower case), text (string), json (the parsed text; null if it is
// not JSON) and role (what the role answers for itself, see ownAnswer). The error is an
// *ExpressionError.
func compile(text string) (expression, error) {
	l, err := newLanguage()
	if err != nil {
		return expression{}, err
	}
	return l.compile(text)
}

// language is the CEL environment; making one takes a millisecond.
type language struct{ env *cel.Env }

func newLanguage() (language, error) {
	env, err := cel.NewEnv(
		cel.Variable("status", cel.IntType),
		cel.Variable("headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("text", cel.StringType),
		cel.Variable("json", cel.DynType),
		cel.Variable("role", cel.DynType),
		cel.CrossTypeNumericComparisons(true),
		cel.EnableMacroCallTracking(), // so that a message can name the part of an expression that filter or map is
		cel.OptionalTypes(),
		ext.Strings(), ext.Sets(), ext.Lists(), ext.Math(),
	)
	if err != nil {
		return language{}, fmt.Errorf("set up CEL: %w", err)
	}
	return language{env}, nil
}

func (l language) compile(text string) (expression, error) {
	compiled, issues := l.env.Compile(text)
	if issues != nil && issues.Err() != nil {
		first := issues.Errors()[0]
		return expression{}, &ExpressionError{text, first.Location.Line(), first.Location.Column() + 1, shorten(first.Message)}
	}
	// The limit stops an expression that would run for seconds; one over a health answer needs a fraction of it.
	program, err := l.env.Program(compiled, cel.CostLimit(1_000_000))
	if err != nil {
		return expression{}, &ExpressionError{text, 1, 1, err.Error()}
	}
	// The library ignores the limit while it tracks values, so tracking has its own program.
	tracked, err := l.env.Program(compiled, cel.EvalOptions(cel.OptTrackState))
	if err != nil {
		return expression{}, &ExpressionError{text, 1, 1, err.Error()}
	}
	return expression{text: text, ast: compiled.NativeRep(), program: program, tracked: tracked}, nil
}

// condition is compile for an expression that must be true or false.
func (l language) condition(text string) (expression, error) {
	e, err := l.compile(text)
	if err != nil {
		return e, err
	}
	kind := e.ast.GetType(e.ast.Expr().ID())
	if kind != nil && !kind.IsExactType(types.BoolType) && !kind.IsExactType(types.DynType) {
		return e, &ExpressionError{text, 1, 1, fmt.Sprintf("gives %s, not true or false", kind)}
	}
	return e, nil
}

// String is the source of the expression.
func (e expression) String() string { return e.text }

// holds is nil if the expression is true for the answer; otherwise an error with the
// values that made it false.
func (e expression) holds(a answer) error {
	value, err := e.value(a)
	if err != nil {
		return fmt.Errorf("%s: %w", e.text, err)
	}
	held, isBool := value.Value().(bool)
	switch {
	case !isBool:
		return fmt.Errorf("%s gives %s, not true or false", e.text, show(value))
	case held:
		return nil
	}
	if _, details, err := e.tracked.Eval(a.variables()); err == nil {
		if seen := e.seen(e.ast.Expr(), details.State()); seen != "" {
			return fmt.Errorf("%s does not hold: %s", e.text, seen)
		}
	}
	return fmt.Errorf("%s does not hold", e.text)
}

// value evaluates the expression.
func (e expression) value(a answer) (ref.Val, error) {
	value, _, err := e.program.Eval(a.variables())
	if err != nil {
		return nil, errors.New(shorten(err.Error()))
	}
	return value, nil
}

// seen lists the values that made an expression false: for a comparison the operands
// that are not constants, for && those of the part that failed.
func (e expression) seen(x ast.Expr, state interpreter.EvalState) string {
	if x.Kind() != ast.CallKind {
		return ""
	}
	call := x.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	var parts []string
	for _, arg := range args {
		if call.FunctionName() == operators.LogicalAnd {
			if v, found := state.Value(arg.ID()); found && v == types.False {
				return e.seen(arg, state)
			}
			continue
		}
		if arg.Kind() == ast.LiteralKind || arg.Kind() == ast.ListKind {
			continue
		}
		v, found := state.Value(arg.ID())
		source, err := parser.Unparse(arg, e.ast.SourceInfo())
		if found && err == nil {
			parts = append(parts, source+" is "+show(v))
		}
	}
	return strings.Join(parts, ", ")
}

// show is a value for humans, in one line.
func show(v ref.Val) string {
	switch v.(type) {
	case traits.Lister, traits.Mapper:
		// The items may be CEL's own values, which know how they are in JSON.
		if native, err := v.ConvertToNative(reflect.TypeFor[*structpb.Value]()); err == nil {
			if data, err := json.Marshal(native.(*structpb.Value).AsInterface()); err == nil {
				return clip(string(data), shownBytes)
			}
		}
	}
	if s, ok := v.Value().(string); ok {
		return clip(fmt.Sprintf("%q", s), shownBytes)
	}
	return clip(fmt.Sprint(v.Value()), shownBytes)
}

// shownBytes limits a value that is not redacted yet; it is shortened afterwards.
const shownBytes = 64 << 10

// shorten makes one short line of a text.
func shorten(s string) string { return clip(s, 160) }

func clip(s string, limit int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// parseJSON parses a body for CEL, with whole numbers as integers; nil if it is not
// JSON.
func parseJSON(body []byte) any {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return nil
	}
	return goValue(v)
}

func goValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			v[key] = goValue(item)
		}
	case []any:
		for i, item := range v {
			v[i] = goValue(item)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}
