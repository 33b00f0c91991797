package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sigstore/cosign/v3/pkg/cosign"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	kubeclient "github.com/joelhooks/shipit/deploy/kube/client"
	kubestore "github.com/joelhooks/shipit/deploy/kube/store"
	"github.com/joelhooks/shipit/ledger"
	"github.com/joelhooks/shipit/release"
	"github.com/joelhooks/shipit/tools/devcluster/cluster"
)

// exits CODE COMMAND…: runs a command and checks its exit code.
func (s *story) exits(ts *testscript.TestScript, neg bool, args []string) {
	if want, got := codeOf(ts, args); (got == want) == neg {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// becomes CODE COMMAND…: runs a command until it ends with the exit code.
func (s *story) becomes(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(3 * time.Minute); ; {
		want, got := codeOf(ts, args)
		if got == want {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("exit code %d for three minutes, want %d", got, want)
		}
	}
}

// codeOf runs CODE COMMAND… and returns the code that is wanted and that of the command.
func codeOf(ts *testscript.TestScript, args []string) (want, got int) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if len(args) > 2 && args[1] == "shipit" && !slices.Contains(append(exitsOf()[args[2]], exitOK, exitUnexpected, exitUsage, exitInterrupted), got) {
		ts.Fatalf("exit code %d is not in the help of shipit %s", got, args[2])
	}
	return want, got
}

// edit FILE OLD NEW: replaces text that stands once.
func (s *story) edit(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	text := ts.ReadFile(path)
	if strings.Count(text, args[1]) != 1 {
		ts.Fatalf("%q stands %d times in %s", args[1], strings.Count(text, args[1]), args[0])
	}
	ts.Check(os.WriteFile(path, []byte(strings.Replace(text, args[1], args[2], 1)), 0o644))
}

// commit VAR: commits all edits and sets VAR to the commit's SHA.
func (s *story) commit(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], s.repo.Commit(args[0], nil))
}

func (s *story) remove(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.RemoveAll(ts.MkAbs(args[0])))
}

func (s *story) tag(_ *testscript.TestScript, _ bool, args []string) { s.repo.Tag(args[0]) }

// listen FILE: a webhook receiver, and a stand-in for GitHub that takes everything, at WEBHOOK
// and GITHUB_API_URL. Each request becomes a line of the file: method, path, body.
func (s *story) listen(ts *testscript.TestScript, _ bool, args []string) {
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	var one sync.Mutex
	s.listener = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		one.Lock()
		defer one.Unlock()
		fmt.Fprintf(file, "%s %s %s\n", r.Method, r.URL.Path, body)
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, "[]")
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id": 1}`)
	}))
	ts.Defer(func() { s.listener.Close(); _ = file.Close() })
	ts.Setenv("WEBHOOK", s.listener.URL+"/hook")
	ts.Setenv("GITHUB_API_URL", s.listener.URL)
}

// deaf: nobody listens any more.
func (s *story) deaf(*testscript.TestScript, bool, []string) { s.listener.Close() }

// namespace NAME: makes a namespace beside that of the story.
func (s *story) makeNamespace(ts *testscript.TestScript, _ bool, args []string) {
	_, err := s.client.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: args[0]}}, metav1.CreateOptions{})
	ts.Check(err)
}

// pods FILE [NAMESPACE]: writes the name, UID and image of every pod that is not going away.
func (s *story) pods(ts *testscript.TestScript, _ bool, args []string) {
	namespace := s.namespace
	if len(args) > 1 {
		namespace = args[1]
	}
	list, err := s.client.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{})
	ts.Check(err)
	var b strings.Builder
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			fmt.Fprintf(&b, "%s %s %s\n", p.Name, p.UID, p.Spec.Containers[0].Image)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}

// patch DEPLOYMENT JSON [MANAGER]: a strategic merge patch by another hand.
func (s *story) patch(ts *testscript.TestScript, _ bool, args []string) {
	manager := "somebody"
	if len(args) > 2 {
		manager = args[2]
	}
	_, err := s.client.AppsV1().Deployments(s.namespace).Patch(context.Background(), args[0], apitypes.StrategicMergePatchType, []byte(args[1]), metav1.PatchOptions{FieldManager: manager})
	ts.Check(err)
}

// records LINE…: the whole ledger, oldest first, is these lines: seq kind sha outcome parity.
func (s *story) records(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("shipit", "history", "-o", "json"))
	var doc struct{ Records []release.Record }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &doc))
	var got []string
	for i := len(doc.Records) - 1; i >= 0; i-- {
		r := doc.Records[i]
		got = append(got, fmt.Sprintf("%d %s %s %s %t", r.Seq, r.Kind, r.SHA, r.Outcome, r.Parity))
	}
	if strings.Join(got, "\n") != strings.Join(args, "\n") {
		ts.Fatalf("the records are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(args, "\n"))
	}
}

// field PATH WANT: one field of all pods, as JSON path segments, is WANT.
func (s *story) field(ts *testscript.TestScript, _ bool, args []string) {
	list, err := s.client.CoreV1().Pods(s.namespace).List(context.Background(), metav1.ListOptions{})
	ts.Check(err)
	if len(list.Items) == 0 {
		ts.Fatalf("there are no pods")
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp != nil {
			continue
		}
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&p)
		ts.Check(err)
		got, _, err := unstructured.NestedFieldNoCopy(fields, strings.Split(args[0], ".")...)
		ts.Check(err)
		if fmt.Sprint(got) != args[1] {
			ts.Fatalf("%s of %s is %v, want %s", args[0], p.Name, got, args[1])
		}
	}
}

// keys PRIVATE PUBLIC: makes a key pair; its password is "secret".
func (s *story) keys(ts *testscript.TestScript, _ bool, args []string) {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("secret"), nil })
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pair.PrivateBytes, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pair.PublicBytes, 0o644))
}

// alter SEQ OLD NEW: changes a record in the cluster. It is immutable, so it is
// deleted and made again, as an attacker would.
func (s *story) alter(ts *testscript.TestScript, _ bool, args []string) {
	ctx, maps := context.Background(), s.client.CoreV1().ConfigMaps(s.namespace)
	list, err := maps.List(ctx, metav1.ListOptions{})
	ts.Check(err)
	for _, m := range list.Items {
		seq, _ := strconv.Atoi(args[0])
		if !strings.HasSuffix(m.Name, fmt.Sprintf("-%06d", seq)) {
			continue
		}
		if !strings.Contains(m.Data["record"], args[1]) {
			ts.Fatalf("%q does not stand in record %s: %s", args[1], args[0], m.Data["record"])
		}
		m.Data["record"] = strings.ReplaceAll(m.Data["record"], args[1], args[2])
		m.ResourceVersion, m.UID = "", ""
		ts.Check(maps.Delete(ctx, m.Name, metav1.DeleteOptions{}))
		_, err := maps.Create(ctx, &m, metav1.CreateOptions{})
		ts.Check(err)
		return
	}
	ts.Fatalf("there is no record %s", args[0])
}

// hold: another run takes the lock and keeps it until the story ends.
func (s *story) hold(ts *testscript.TestScript, _ bool, _ []string) {
	c, err := kubeclient.Connect(kubeclient.Options{Kubeconfig: s.kubeconfig})
	ts.Check(err)
	l := ledger.New(kubestore.New(c, s.namespace, s.namespace), s.namespace, ledger.Options{})
	lock, err := l.Lock(context.Background(), ledger.LockOptions{Holder: "somebody@elsewhere"})
	ts.Check(err)
	ts.Defer(func() { _ = lock.Unlock(context.Background()) })
}

// user FILE: a kubeconfig of a service account that may do nothing.
func (s *story) user(ts *testscript.TestScript, _ bool, args []string) {
	ctx, accounts := context.Background(), s.client.CoreV1().ServiceAccounts(s.namespace)
	_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}}, metav1.CreateOptions{})
	ts.Check(err)
	token, err := accounts.CreateToken(ctx, "deployer", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	ts.Check(err)
	cfg, err := clientcmd.LoadFromFile(s.kubeconfig)
	ts.Check(err)
	for _, user := range cfg.AuthInfos {
		*user = *clientcmdapi.NewAuthInfo()
		user.Token = token.Status.Token
	}
	ts.Check(clientcmd.WriteToFile(*cfg, ts.MkAbs(args[0])))
}

// grant FILE: makes the Roles of a YAML file and binds them to that account.
func (s *story) grant(ts *testscript.TestScript, _ bool, args []string) {
	ctx, rbac := context.Background(), s.client.RbacV1()
	for _, doc := range strings.Split(ts.ReadFile(args[0]), "\n---\n") {
		var role rbacv1.Role
		ts.Check(yaml.Unmarshal([]byte(doc), &role))
		if role.Kind != "Role" {
			continue
		}
		_, err := rbac.Roles(role.Namespace).Create(ctx, &role, metav1.CreateOptions{})
		ts.Check(err)
		_, err = rbac.RoleBindings(role.Namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "deployer", Namespace: s.namespace}},
		}, metav1.CreateOptions{})
		ts.Check(err)
	}
}

// login VAR: a registry that wants the password "secret" of "user"; VAR is its address.
func (s *story) login(ts *testscript.TestScript, _ bool, args []string) {
	addr, shut, err := cluster.RegistryWithLogin(context.Background(), s.t.TempDir(), cluster.Login{User: "user", Password: "secret"})
	ts.Check(err)
	ts.Defer(shut)
	ts.Setenv(args[0], addr)
}

// onhost COMMAND…: runs a command on the host; what it prints becomes stdout.
func (s *story) onHost(ts *testscript.TestScript, neg bool, args []string) {
	out, err := s.host.Exec(context.Background(), args...)
	if (err != nil) != neg {
		ts.Fatalf("on the host: %v: %s", err, out)
	}
	_, _ = fmt.Fprint(ts.Stdout(), out)
}

// network cut|heal: takes the host's network away, or gives it back.
func (s *story) network(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "cut" {
		ts.Check(s.host.Cut(context.Background()))
		return
	}
	ts.Check(s.host.Heal(context.Background()))
}

// interrupt TEXT CODE COMMAND…: runs a command, sends SIGINT when its output says
// TEXT, and checks the exit code; for the code "killed" it sends SIGKILL.
func (s *story) interrupt(ts *testscript.TestScript, _ bool, args []string) {
	var path string
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, args[2])); err == nil {
			path = filepath.Join(dir, args[2])
			break
		}
	}
	signal, want := os.Interrupt, args[1]
	if args[1] == "killed" {
		signal, want = os.Kill, "-1"
	}
	cmd := exec.Command(path, args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig, "HOME="+ts.Getenv("HOME"), "XDG_CACHE_HOME="+ts.Getenv("XDG_CACHE_HOME"), "PATH="+ts.Getenv("PATH"))
	w := &awaited{text: args[0], seen: func() { ts.Check(cmd.Process.Signal(signal)) }}
	cmd.Stdout, cmd.Stderr = w, w
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != want {
		ts.Fatalf("ended with %v, want exit code %s; it said\n%s", err, args[1], w.all.String())
	}
}

// awaited calls seen once when text has been written to it.
type awaited struct {
	text string
	seen func()
	all  strings.Builder
}

func (w *awaited) Write(p []byte) (int, error) {
	w.all.Write(p)
	if w.seen != nil && strings.Contains(w.all.String(), w.text) {
		w.seen()
		w.seen = nil
	}
	return len(p), nil
}
