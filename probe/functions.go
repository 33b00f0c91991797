package probe

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/release"
)

// Functions asks a role which functions it has, at the path of its first HTTP probe.
// False means that the role does not report functions: it has no HTTP probe, or its
// answer has no such field.
func Functions(ctx context.Context, role config.Role, f config.Functions, ask Asker) (release.RoleFunctions, bool, error) {
	q, ok := healthOf(role, ask)
	if !ok {
		return release.RoleFunctions{}, false, nil
	}
	answer, err := q.try(ctx)
	if err != nil {
		return release.RoleFunctions{}, false, fmt.Errorf("functions of %s: %s: %w", role.Name, q, err)
	}
	return functionsIn(role.Name, f, answer)
}

// functionsIn reads the functions of a role from its health answer.
func functionsIn(role string, f config.Functions, answer answer) (release.RoleFunctions, bool, error) {
	l, err := newLanguage()
	if err != nil {
		return release.RoleFunctions{}, false, err
	}
	text := f.IDs
	if text == "" {
		text = "json.functions"
	}
	e, err := l.compile(text)
	if err != nil {
		return release.RoleFunctions{}, false, err
	}
	value, err := e.value(answer)
	if err != nil {
		if strings.Contains(err.Error(), "no such key") || answer.variables()["json"] == nil {
			return release.RoleFunctions{}, false, nil
		}
		return release.RoleFunctions{}, false, fmt.Errorf("functions of %s: %s: %w", role, text, err)
	}
	native, err := value.ConvertToNative(reflect.TypeFor[[]string]())
	if err != nil {
		return release.RoleFunctions{}, false, fmt.Errorf("functions of %s: %s gives %s, not a list of ids", role, text, value.Type().TypeName())
	}
	ids := slices.Clone(native.([]string))
	slices.Sort(ids)
	return release.RoleFunctions{Role: role, IDs: ids, Count: len(ids), LastRegistration: l.lastAttempt(answer)}, true, nil
}

// lastAttempt is when the worker, by its own answer, last tried to register. A failed
// attempt counts too, so it is only displayed and proves nothing.
func (l language) lastAttempt(answer answer) time.Time {
	e, err := l.compile("json.worker.lastRegistrationAt")
	if err != nil {
		return time.Time{}
	}
	value, err := e.value(answer)
	if err != nil {
		return time.Time{}
	}
	text, _ := value.Value().(string)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// Ownership finds duplicates: function ids that two roles have, or one role twice,
// unless they are allowed.
func Ownership(roles []release.RoleFunctions, allow []string) release.Functions {
	owned := release.Functions{Roles: roles, Duplicates: []string{}}
	times := map[string]int{}
	for _, role := range roles {
		for _, id := range role.IDs {
			times[id]++
		}
	}
	for id, n := range times {
		if n > 1 && !slices.Contains(allow, id) {
			owned.Duplicates = append(owned.Duplicates, id)
		}
	}
	slices.Sort(owned.Duplicates)
	return owned
}

// Disputed is nil if there are no duplicates; otherwise a *release.Failure that names
// each duplicate with its roles.
func Disputed(f release.Functions) error {
	if len(f.Duplicates) == 0 {
		return nil
	}
	var parts []string
	for _, id := range f.Duplicates {
		var owners []string
		for _, role := range f.Roles {
			for _, listed := range role.IDs {
				if listed == id {
					owners = append(owners, role.Role)
				}
			}
		}
		parts = append(parts, fmt.Sprintf("%s in %s", id, strings.Join(owners, " and ")))
	}
	return &release.Failure{
		Code: release.CodeFunctionOwnership, Object: "function " + f.Duplicates[0], Message: "more than one owner: " + strings.Join(parts, "; "),
		Hint: "remove it from one role, or name it in functions.allowDuplicates",
	}
}
