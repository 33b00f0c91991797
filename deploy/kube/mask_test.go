package kube

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMaskHidesTheSecretsOfARole(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	_, err := c.kube.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"TOKEN": "zqx1a2b3c4"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	role := roleOf(t, ns, digestOf("v1"), deployment("web", 1, "        envFrom: [{secretRef: {name: keys}}]"))
	mask, err := target(t, c, ns).Mask(t.Context(), role)
	require.NoError(t, err)
	require.NotContains(t, mask("it says zqx1a2b3c4"), "zqx1a2b3c4")
	require.Equal(t, "it says nothing", mask("it says nothing"))
}
