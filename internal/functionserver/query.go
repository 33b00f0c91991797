package functionserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// query answers with everything about what a query names. The query must be valid for the
// part of the server's schema that is in schema; its selection is not applied.
func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	var body struct{ Query string }
	err := json.NewDecoder(r.Body).Decode(&body)
	if err == nil {
		err = validate(body.Query)
	}
	if err != nil {
		reply(w, http.StatusUnprocessableEntity, map[string]any{"data": nil, "errors": []any{map[string]any{"message": err.Error()}}})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data := map[string]any{}
	if strings.Contains(body.Query, "apps") {
		apps := []App{}
		for _, app := range s.apps {
			apps = append(apps, app)
		}
		data["apps"] = apps
	}
	if strings.Contains(body.Query, "workerConnections") {
		edges := []any{}
		for _, c := range s.connections {
			if !strings.Contains(body.Query, "READY") || c.Status == "READY" {
				edges = append(edges, map[string]any{"node": c})
			}
		}
		data["workerConnections"] = map[string]any{"totalCount": len(edges), "edges": edges}
	}
	reply(w, http.StatusOK, map[string]any{"data": data})
}

// shape is what of a type of the server's schema the recipes use: its fields and their
// types, nil for a scalar.
type shape map[string]shape

// schema is the type of a query.
func schema() shape {
	fields := func(names string) shape {
		of := shape{}
		for _, name := range strings.Fields(names) {
			of[name] = nil
		}
		return of
	}
	app := fields("id externalID name sdkLanguage sdkVersion framework url checksum error method appVersion connected functionCount")
	app["functions"] = fields("id name slug config concurrency url appID")
	node := fields("id gatewayId instanceId workerIp appName appID connectedAt lastHeartbeatAt disconnectedAt status sdkLang sdkVersion functionCount os")
	return shape{"apps": app, "workerConnections": {"totalCount": nil, "edges": {"node": node}}}
}

// validate finds what of a query the schema does not have.
func validate(query string) error {
	parsed, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		return err
	}
	for _, operation := range parsed.Operations {
		if err := selects(operation.SelectionSet, "Query", schema()); err != nil {
			return err
		}
	}
	return nil
}

func selects(set ast.SelectionSet, name string, of shape) error {
	for _, selection := range set {
		field, ok := selection.(*ast.Field)
		if !ok {
			return fmt.Errorf("the stand-in knows no fragments")
		}
		inner, known := of[field.Name]
		if !known {
			return fmt.Errorf("Cannot query field %q on type %q.", field.Name, name) //nolint:staticcheck // the server's own words
		}
		if len(field.SelectionSet) == 0 && inner != nil {
			return fmt.Errorf("Field %q must have a selection of subfields.", field.Name) //nolint:staticcheck // the server's own words
		}
		if err := selects(field.SelectionSet, field.Name, inner); err != nil {
			return err
		}
	}
	return nil
}
