package pipeline

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/pipeline/lockfile"
)

func TestAnInstallIsToldItsPlatform(t *testing.T) {
	mac := lockfile.PlatformOf("darwin", "arm64")
	alpine := lockfile.Platform{OS: "linux", CPU: "x64", Libc: musl}
	for _, tt := range []struct {
		command, name string
		only          *lockfile.Platform
		manager, want string
	}{
		{"npm ci --omit=dev", "darwin/arm64", &mac, "npm", "npm ci --omit=dev --os=darwin --cpu=arm64 --ignore-scripts"},
		{"npm ci", "linux/amd64", &alpine, "npm", "npm ci --os=linux --cpu=x64 --libc=musl"},
		{"bun install --production", "darwin/arm64", &mac, "bun", "bun install --production --os=darwin --cpu=arm64 --ignore-scripts"},
		{"pnpm --filter a... install", "darwin/arm64", &mac, "pnpm", "pnpm --filter a... install --ignore-scripts"},
		{"corepack pnpm install --ignore-scripts", "darwin/arm64", &mac, "pnpm", "corepack pnpm install --ignore-scripts"},
		{"pnpm install", "linux/arm64", nil, "pnpm", "pnpm install --ignore-scripts"},
		{"npm ci -- more", "darwin/arm64", &mac, "npm", "npm ci --os=darwin --cpu=arm64 --ignore-scripts -- more"},
		{"pnpm exec playwright install", "", nil, "", ""},
		{"bun run install", "", nil, "", ""},
		{"yarn install", "", nil, "", ""},
		{"make", "", nil, "", ""},
	} {
		t.Run(tt.command, func(t *testing.T) {
			args := strings.Fields(tt.command)
			require.Equal(t, tt.manager, installer(args))
			if tt.manager != "" {
				a := &aim{manager: tt.manager, name: tt.name, on: "linux/amd64", only: tt.only}
				require.Equal(t, tt.want, strings.Join(a.args(args), " "))
			}
		})
	}
}

func TestWhatPnpmIsToldReplacesWhatARepositorySays(t *testing.T) {
	want := supported{OS: []string{"darwin"}, CPU: []string{"arm64"}}
	data, err := inManifest([]byte(`{"name":"a","pnpm":{"supportedArchitectures":{"os":["linux"]},"overrides":{"x":"1"}}}`), want)
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"a","pnpm":{"supportedArchitectures":{"os":["darwin"],"cpu":["arm64"]},"overrides":{"x":"1"}}}`, string(data))
	data, err = inWorkspace([]byte("packages: [a]\nsupportedArchitectures: {os: [linux]}\n"), want)
	require.NoError(t, err)
	require.YAMLEq(t, "packages: [a]\nsupportedArchitectures: {os: [darwin], cpu: [arm64]}\n", string(data))
}
