package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/process"
	"github.com/joelhooks/shipit/release"
)

// functionsLimit bounds the command that lists an image's functions.
const functionsLimit = 30 * time.Second

// functions runs the image's functions command in the built image and refuses
// ids that two roles would own, before any role runs it.
func (s Subject) functions(ctx context.Context, fs rootfs) ([]release.Finding, error) {
	command := s.Image.Functions
	if len(command) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, functionsLimit)
	defer cancel()
	box, err := s.inside(ctx, fs, config.Role{}, command)
	if err != nil {
		return nil, err
	}
	defer box.close()
	var stderr bytes.Buffer
	box.cmd.Stderr = &stderr
	printed, err := box.cmd.Output()
	if err != nil && !box.entered() {
		return nil, fmt.Errorf("%w: %s", errNotHere, process.LastLine(stderr.String()))
	}
	if err != nil {
		return []release.Finding{refusal(release.CodeFunctionsFailed, strings.Join(command, " "), fmt.Sprintf("%v: %s", err, process.LastLine(stderr.String())), "it runs in the package's folder of the image, without a network")}, nil
	}
	var byRole map[string][]string
	if err := json.Unmarshal(printed, &byRole); err != nil {
		return []release.Finding{refusal(release.CodeFunctionsFailed, strings.Join(command, " "), "did not print {\"role\": [\"id\", …]}: "+err.Error(), "")}, nil
	}
	return s.disputed(byRole), nil
}

// disputed are the ids with more than one owner that may not have it.
func (s Subject) disputed(byRole map[string][]string) []release.Finding {
	owners := map[string][]string{}
	for _, role := range slices.Sorted(maps.Keys(byRole)) {
		for _, id := range byRole[role] {
			owners[id] = append(owners[id], role)
		}
	}
	var out []release.Finding
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		if len(owners[id]) > 1 && !slices.Contains(s.Shared, id) {
			out = append(out, refusal(release.CodeDuplicateFunction, id, "is a function of "+strings.Join(owners[id], " and "), "give it one owner, or add it to functions.allowDuplicates"))
		}
	}
	return out
}
