package probe_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/probe"
)

func TestExpressions(t *testing.T) {
	health := probe.Answer{
		Status: 200, Header: http.Header{"Content-Type": {"application/json"}, "X-Two": {"a", "b"}},
		Body: []byte(`{"count":14,"ratio":0.5,"functions":["a","b"],"ok":true,"worker":{"role":"host","roleCounts":{"host":2}}}`),
	}
	for _, tc := range []struct {
		name, expression string
		answer           probe.Answer
		want             string // empty: it holds
	}{
		{"a status", "status == 200", health, ""},
		{"a field", `json.worker.role == "host"`, health, ""},
		{"a whole number", "json.count == 14 && json.count > 0 && json.count % 2 == 0", health, ""},
		{"a broken number", "json.ratio < 1", health, ""},
		{"a header in lower case", `headers["content-type"].startsWith("application/") && headers["x-two"] == "a, b"`, health, ""},
		{"a field alone", "json.ok", health, ""},
		{"a list", `"a" in json.functions && size(json.functions) == 2 && json.functions.all(f, f != "c")`, health, ""},
		{"a field that need not be there", `json.?gone.orValue("x") == "x" && !has(json.gone)`, health, ""},
		{"text", `text.contains("roleCounts")`, health, ""},
		{"no JSON", `json == null && text == "hello"`, probe.Answer{Status: 200, Body: []byte("hello")}, ""},
		{"two JSON values", `json == null`, probe.Answer{Status: 200, Body: []byte("{} {}")}, ""},

		{"a wrong field tells its value", `json.worker.role == "cluster"`, health, `json.worker.role == "cluster" does not hold: json.worker.role is "host"`},
		{"of two conditions the failed one tells", `status == 200 && json.count > 20`, health, `status == 200 && json.count > 20 does not hold: json.count is 14`},
		{"a list tells its items", `"z" in json.functions`, health, `"z" in json.functions does not hold: json.functions is ["a","b"]`},
		{"what is left of a list tells its items", `json.functions.filter(f, f != "a") == []`, health, `json.functions.filter(f, f != "a") is ["b"]`},
		{"a missing field is named", "json.gone > 1", health, "json.gone > 1: no such key: gone"},
		{"a value that is no bool", "json.count", health, "json.count gives 14, not true or false"},
		{"an endless expression is stopped", `[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, [1,2,3,4,5,6,7,8,9,10].map(c, [1,2,3,4,5,6,7,8,9,10].map(d, [1,2,3,4,5,6,7,8,9,10].map(e, [1,2,3,4,5,6,7,8,9,10].map(f, [1,2,3,4,5,6,7,8,9,10].map(g, g))))))) == []`, health, "cost"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := probe.Compile(tc.expression)
			require.NoError(t, err)
			err = e.Holds(tc.answer)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestCompileNamesTheColumn(t *testing.T) {
	for _, tc := range []struct {
		expression string
		column     int
		msg        string
	}{
		{`jso.count > 0`, 1, "undeclared reference to 'jso'"},
		{`status == "200"`, 8, "no matching overload"},
		{`json.count >`, 13, "Syntax error"},
		{`status == 200 && heders["a"] == "b"`, 18, "undeclared reference to 'heders'"},
	} {
		t.Run(tc.expression, func(t *testing.T) {
			_, err := probe.Compile(tc.expression)
			var fault *probe.ExpressionError
			require.ErrorAs(t, err, &fault)
			require.Equal(t, tc.column, fault.Column, fault.Error())
			require.Contains(t, fault.Msg, tc.msg)
		})
	}
}
