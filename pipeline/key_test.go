package pipeline

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/internal/sample"
)

// input is a change of one setting, and whether it changes the key.
type input struct {
	in     bool
	change func(*config.Image)
}

// imageInputs has every field of config.Image.
func imageInputs() map[string]input {
	digest := "@sha256:" + strings.Repeat("a", 64)
	return map[string]input{
		"Repository": {false, func(i *config.Image) { i.Repository = "registry.test/other" }}, // where it goes, not what it is
		"Secrets":    {false, func(i *config.Image) { i.Secrets = []string{"NPM_TOKEN"} }},    // they give access, not content
		"Package":    {true, func(i *config.Image) { i.Package = "packages/gateway" }},
		"Base":       {true, func(i *config.Image) { i.Base = "registry.test/bun" + digest }},
		"Platforms":  {true, func(i *config.Image) { i.Platforms = []string{"linux/arm64"} }},
		"Run":        {true, func(i *config.Image) { i.Run = [][]string{{"true"}} }},
		"Toolchain":  {true, func(i *config.Image) { i.Toolchain = "registry.test/node" + digest }},
		"Test":       {true, func(i *config.Image) { i.Test = [][]string{{"true"}} }},
		"Include":    {true, func(i *config.Image) { i.Include = []string{"assets"} }},
		"Entrypoint": {true, func(i *config.Image) { i.Entrypoint = []string{"bun"} }},
		"User":       {true, func(i *config.Image) { i.User = "1001" }},
		"Env":        {true, func(i *config.Image) { i.Env = map[string]string{"A": "b"} }},
		"Caches":     {true, func(i *config.Image) { i.Caches = []string{".turbo"} }},
		"Prove":      {true, func(i *config.Image) { i.Prove.Skip = !i.Prove.Skip }},
		"Parallel":   {true, func(i *config.Image) { i.Parallel = true }},
		"Services":   {true, func(i *config.Image) { i.Services = map[string]config.Service{"redis": {Ports: []int{6379}}} }},
		"Sharing":    {false, func(i *config.Image) { i.Sharing = "locked" }}, // nothing of a cache is in the image
		"Functions":  {true, func(i *config.Image) { i.Functions = []string{"bun", "src/functions.ts"} }},
	}
}

// proveInputs has every field of config.Prove.
func proveInputs() map[string]input {
	return map[string]input{
		"Entrypoints": {true, func(i *config.Image) { i.Prove.Entrypoints = []string{"src/other.ts"} }},
		"Start":       {true, func(i *config.Image) { i.Prove.Start = config.Duration(time.Second) }},
		"Skip":        {true, func(i *config.Image) { i.Prove.Skip = true }},
	}
}

func TestEverySettingOfAnImageIsInTheKeyOrDeclaredNotToBe(t *testing.T) {
	r := sample.New(t, sample.Options{Edits: map[string]string{"assets/a": "a"}})
	plain := resolve(t, r.Dir, provenImage()).Key
	require.Len(t, plain, 64)
	seen := map[string]string{plain: "the plain image"}
	for _, of := range []struct {
		fields reflect.Type
		inputs map[string]input
	}{
		{reflect.TypeFor[config.Image](), imageInputs()},
		{reflect.TypeFor[config.Prove](), proveInputs()},
	} {
		require.Len(t, of.inputs, of.fields.NumField(), "%s has fields that are not listed here", of.fields)
		for i := range of.fields.NumField() {
			name := of.fields.Field(i).Name
			input, ok := of.inputs[name]
			require.True(t, ok, "%s.%s is declared neither in nor out of the key", of.fields, name)
			img := provenImage()
			input.change(&img)
			key := resolve(t, r.Dir, img).Key
			if !input.in {
				require.Equal(t, plain, key, "%s is no input", name)
				continue
			}
			if name == "Skip" { // the same change as that of Prove
				delete(seen, key)
			}
			require.Empty(t, seen[key], "%s is an input", name)
			seen[key] = name
		}
	}
	outside := provenImage()
	outside.Caches = []string{"/root/.cache"}
	require.Equal(t, plain, resolve(t, r.Dir, outside).Key, "a cache outside the tree is no input")
}

func TestTheKeyCoversWhatTheProofReadsOfTheRestOfTheConfiguration(t *testing.T) {
	r := sample.New(t, sample.Options{})
	key := func(start, lists bool, change func(*config.Config)) string {
		img := provenImage()
		if start {
			img.Prove.Start = config.Duration(time.Second)
		}
		if lists {
			img.Functions = []string{"bun", "src/functions.ts"}
		}
		cfg := config.Config{Images: map[string]config.Image{"worker": img}, Roles: config.Roles{
			{Name: "cluster", Image: "worker", Port: 3111, Env: map[string]string{"WORKER_ROLE": "cluster"}, Kubernetes: &config.Kubernetes{}},
			{Name: "other", Image: "gateway", Kubernetes: &config.Kubernetes{}},
			{Name: "host", Image: "worker", Host: &config.Host{}},
		}}
		change(&cfg)
		in, err := Resolve(context.Background(), openSource(t, r.Dir, ""), cfg, "worker")
		require.NoError(t, err)
		return in.Key
	}
	same := func(*config.Config) {}
	for _, tt := range []struct {
		name         string
		start, lists bool
		in           bool
		change       func(*config.Config)
	}{
		{"the environment of a role that is started", true, false, true, func(c *config.Config) { c.Roles[0].Env["WORKER_ROLE"] = "host" }},
		{"the port of a role that is started", true, false, true, func(c *config.Config) { c.Roles[0].Port = 4000 }},
		{"one more role that is started", true, false, true, func(c *config.Config) { c.Roles[1].Image = "worker" }},
		{"what another image's role has", true, false, false, func(c *config.Config) { c.Roles[1].Port = 4000 }},
		{"what a host's role has", true, false, false, func(c *config.Config) { c.Roles[2].Port = 4000 }},
		{"the environment of a role, if none is started", false, false, false, func(c *config.Config) { c.Roles[0].Env["WORKER_ROLE"] = "host" }},
		{"ids that may have several owners", false, true, true, func(c *config.Config) { c.Functions.AllowDuplicates = []string{"dispatch"} }},
		{"ids that may have several owners, if none are listed", false, false, false, func(c *config.Config) { c.Functions.AllowDuplicates = []string{"dispatch"} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, after := key(tt.start, tt.lists, same), key(tt.start, tt.lists, tt.change)
			if tt.in {
				require.NotEqual(t, before, after, "it is an input")
			} else {
				require.Equal(t, before, after, "it is no input")
			}
		})
	}
}
