package main

import (
	"context"
	"os"
	"path/filepath"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// limited makes an account that may do everything in the namespace but change
// Deployments, and gives the path of its kubeconfig.
func (d deployment) limited(ctx context.Context) (string, error) {
	const name = "limited"
	read := []string{"get", "list", "watch"}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := d.client.CoreV1().ServiceAccounts(d.namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"", "coordination.k8s.io", "events.k8s.io"}, Resources: []string{"*"}, Verbs: []string{"*"}},
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: read},
	}}
	if _, err := d.client.RbacV1().Roles(d.namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: d.namespace}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: name, APIGroup: rbacv1.GroupName}}
	if _, err := d.client.RbacV1().RoleBindings(d.namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	everywhere := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}, Subjects: subjects, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader", APIGroup: rbacv1.GroupName}}
	reader := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: read}}}
	everywhere.RoleRef.Name = reader.Name
	if _, err := d.client.RbacV1().ClusterRoles().Create(ctx, reader, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	if _, err := d.client.RbacV1().ClusterRoleBindings().Create(ctx, everywhere, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	token, err := d.client.CoreV1().ServiceAccounts(d.namespace).CreateToken(ctx, name, &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return d.kubeconfigOf(token.Status.Token)
}

// kubeconfigOf writes the administrator's kubeconfig with another token.
func (d deployment) kubeconfigOf(token string) (string, error) {
	cfg, err := clientcmd.LoadFromFile(d.cluster.Kubeconfig)
	if err != nil {
		return "", err
	}
	for name := range cfg.AuthInfos {
		cfg.AuthInfos[name] = &api.AuthInfo{Token: token}
	}
	path := filepath.Join(d.dir, d.namespace+".kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o600)
}
