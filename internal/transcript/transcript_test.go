package transcript

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMaskedHidesWhatDiffersBetweenRunsAndNothingElse(t *testing.T) {
	one := "✓ cluster ready 1/1 (771ms)\n#4 fe61c3f 1.0.0 runs sha256:dad17498da8bbb0b\n  cluster  dad17498da8b  2026-11-28 14:12Z\nPod busrig/busrig-cluster-59494ccb5f-9q2ms on 127.0.0.1:39505\n"
	two := "✓ cluster ready 1/1\n#4 183dd88 1.0.0 runs sha256:a9bb2fe25ed012345\n  cluster    a9bb2fe25ed0  2027-01-02 03:04Z\nPod busrig/busrig-cluster-6c9f8d7b5-xk2lm on 10.0.0.1:80\n"
	require.Equal(t, Masked(one), Masked(two))
	require.Equal(t, Masked("Pod web-59494ccb5f-9q2ms"), Masked("Pod web-7d9c8bf-xk2lm"), "the hash of a revision may be short")
	require.Equal(t, Masked("pid 2317 run fda81101, then fe61c3f"), Masked("pid 4123456 run fda81101, then fe61c3f"), "a number of seven digits is no hash")
	require.NotEqual(t, Masked("fe61c3f then fe61c3f"), Masked("fe61c3f then 183dd88"), "another commit is another one")
	require.NotEqual(t, Masked("#4 settled"), Masked("#5 settled"))
	require.NotEqual(t, Masked("[exit code 5]"), Masked("[exit code 4]"))
	require.NotEqual(t, Masked("ready 1/1"), Masked("ready 0/1"))
}

func TestMissingLinesOfAShortenedTranscript(t *testing.T) {
	full := "$ shipit release\n✓ source fe61c3f 1.0.0\n→ build worker\n✓ cluster ready 1/1 (771ms)\n  | {\"ok\":false,\"more\":1}\n"
	require.Empty(t, Missing("$ shipit release\n…\n✓ cluster ready 1/1 (2.0s)\n  | {\"ok\":…\n[exit code 5]\n", full))
	require.Equal(t, []string{"✓ cluster ready 0/1"}, Missing("$ shipit release\n✓ cluster ready 0/1\n", full))
	require.Equal(t, []string{"$ shipit release"}, Missing("✓ cluster ready 1/1\n$ shipit release\n", full), "in another order")
}
