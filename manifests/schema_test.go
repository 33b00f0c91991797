package manifests

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/release"
)

const workloadHead = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - name: c\n        image: " + ownImage + "\n"

func TestAValueOfAnotherTypeIsNamedByItsField(t *testing.T) {
	for _, tc := range []struct{ name, manifest, want string }{
		{"a number as the value of a variable", ownPod + workloadHead + "        env:\n        - {name: A, value: b}\n        - name: PORT\n          value: 8080\n",
			"k.yaml:20: Deployment joelclaw/web: spec.template.spec.containers[0].env[1].value: must be text, not the number 8080"},
		{"true as a label", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, labels: {flag: yes}}\n", "k.yaml:3: ConfigMap joelclaw/m: metadata.labels.flag: must be text, not true"},
		{"text as a number", workloadHead + "  replicas: 'two'\n", "k.yaml:12: Deployment joelclaw/web: spec.replicas: must be a whole number, not the text \"two\""},
		{"a mapping as a list", workloadHead + "        env: {A: b}\n", "k.yaml:12: Deployment joelclaw/web: spec.template.spec.containers[0].env: must be a list, not a mapping"},
		{"a list as a mapping", workloadHead + "  strategy: [Recreate]\n", "k.yaml:12: Deployment joelclaw/web: spec.strategy: must be a mapping, not a list"},
		{"a quantity that is none", workloadHead + "        resources: {limits: {memory: lots}}\n", "k.yaml:12: Deployment joelclaw/web: spec.template.spec.containers[0].resources.limits.memory: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := render(simple(ownImage, map[string]string{"k.yaml": tc.manifest}, "k.yaml"))
			var fault *Error
			require.ErrorAs(t, err, &fault)
			require.Equal(t, tc.want, fault.Error())
			require.Equal(t, release.CodeBadManifest, fault.Code)
		})
	}
	t.Run("what is right is taken", func(t *testing.T) {
		yamlOf(t, workloadHead+"        env: [{name: PORT, value: '8080'}, {name: EMPTY, value: null}]\n        ports: [{containerPort: 80}]\n        resources: {limits: {cpu: 1, memory: 1Gi}}\n        readinessProbe: {httpGet: {path: /, port: http}}\n        livenessProbe: {httpGet: {path: /, port: 80}}\n")
	})
	t.Run("the fields of a kind that is not Kubernetes' own are not known", func(t *testing.T) {
		yamlOf(t, ownPod+"apiVersion: example.com/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: many}\n")
	})
}

func TestWhatYAMLAllowsIsTaken(t *testing.T) {
	t.Run("a merge key with an override, on either side", func(t *testing.T) {
		out := yamlOf(t, ownPod+"apiVersion: example.com/v1\nkind: Config\nmetadata: {name: m}\nspec:\n  base: &base {a: base, b: base}\n  after: {<<: *base, a: mine}\n  before: {a: mine, <<: *base}\n")
		require.Contains(t, out, "  after:\n    a: mine\n    b: base\n")
		require.Contains(t, out, "  before:\n    a: mine\n    b: base\n")
	})
	t.Run("text after the end of a document is told", func(t *testing.T) {
		_, err := render(simple(ownImage, map[string]string{"k.yaml": ownPod + "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n...\n# a comment may follow\nkind: Secret\n"}, "k.yaml"))
		require.EqualError(t, err, "k.yaml:11: is after the document's end (...), where kubectl drops it without a word")
	})
	t.Run("the end of a document may be marked", func(t *testing.T) {
		yamlOf(t, ownPod+"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n...\n# a comment may follow\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n...\n")
	})
}
