package devhost

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// furnish writes what this one boot adds to the disk image: keys and files.
func (h *Host) furnish(files map[string]string) error {
	upper := filepath.Join(h.dir, "upper")
	own, err := newKey()
	if err != nil {
		return err
	}
	guest, err := newKey()
	if err != nil {
		return err
	}
	h.Key, h.KnownHosts = filepath.Join(h.dir, "key"), filepath.Join(h.dir, "known_hosts")
	for _, f := range []struct {
		path string
		body []byte
		mode os.FileMode
	}{
		{h.Key, guest.private, 0o600},
		{filepath.Join(h.dir, "host_key.pub"), own.public, 0o644},
		{filepath.Join(upper, "etc/ssh/ssh_host_ed25519_key"), own.private, 0o600},
		{filepath.Join(upper, "root/.ssh/authorized_keys"), guest.public, 0o600},
		{filepath.Join(upper, "etc/hostname"), []byte("devhost\n"), 0o644},
	} {
		if err := put(f.path, f.body, f.mode); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(upper, "root"), 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(upper, h.Root), 0o755); err != nil {
		return err
	}
	for to, from := range files {
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		body, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := put(filepath.Join(upper, to), body, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

func put(path string, body []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, body, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

type key struct{ private, public []byte }

func newKey() (key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return key{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, "devhost")
	if err != nil {
		return key{}, err
	}
	shown, err := ssh.NewPublicKey(public)
	if err != nil {
		return key{}, err
	}
	return key{private: pem.EncodeToMemory(block), public: ssh.MarshalAuthorizedKey(shown)}, nil
}

// launch is run as the first process of new process, mount and network
// namespaces. It waits for its network, which needs its process to be there, and
// becomes the machine. When it ends, all in them ends.
const launch = `set -e
for group in $GROUPS_OF; do echo 0 >"$group/cgroup.procs"; done
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$DIR/upper,workdir=$DIR/work" "$DIR/root"
echo ready
read -r go
exec "$NSPAWN" -D "$DIR/root" --quiet --register=no --keep-unit --boot \
  --network-namespace-path=/proc/self/ns/net --console=pipe --hostname=devhost </dev/null >"$DIR/console" 2>&1`

// spawn starts the machine's process up to the point where its network is
// needed; start lets it go on.
func (h *Host) spawn(p parts) (start func() error, err error) {
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--mount", "--net", "--propagation", "private", "--", "sh", "-c", launch)
	cmd.Env = append(os.Environ(), "BASE="+p.rootfs, "DIR="+h.dir, "NSPAWN="+p.nspawn, "GROUPS_OF="+strings.Join(h.groups, " "))
	if p.libraries != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+p.libraries)
	}
	cmd.SysProcAttr = attributes()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	started := make(chan error, 1)
	go func() {
		// The kernel sends the death signal when the thread ends that started the
		// process: this one is kept until the process has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			h.ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	h.cmd = cmd
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		return nil, fmt.Errorf("prepare the machine's namespaces: %s", tail(complaint.String(), 600))
	}
	return func() error {
		_, err := io.WriteString(in, "go\n")
		return err
	}, nil
}

// network joins the machine's network namespace to this one by a pair of
// interfaces.
func (h *Host) network(ctx context.Context, id string) error {
	pid := strconv.Itoa(h.cmd.Process.Pid)
	h.link = "shd" + id
	if err := run(ctx, "ip", "link", "add", h.link, "type", "veth", "peer", "name", "host0", "netns", pid); err != nil {
		return err
	}
	subnet, err := takeSubnet(ctx, h.link)
	if err != nil {
		return err
	}
	h.Gateway, h.IP = subnet+"1", subnet+"2"
	h.Address = "root@" + h.IP
	inside := []string{"nsenter", "--target", pid, "--net", "--", "ip"}
	for _, argv := range [][]string{
		{"ip", "link", "set", h.link, "up"},
		append(inside, "addr", "add", h.IP+"/24", "dev", "host0"),
		append(inside, "link", "set", "host0", "up"),
		append(inside, "link", "set", "lo", "up"),
	} {
		if err := run(ctx, argv...); err != nil {
			return err
		}
	}
	public, err := os.ReadFile(filepath.Join(h.dir, "host_key.pub"))
	if err != nil {
		return err
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey(public)
	if err != nil {
		return err
	}
	return put(h.KnownHosts, []byte(knownhosts.Line([]string{h.IP}, parsed)+"\n"), 0o644)
}

// takeSubnet gives an interface the first address of a private network that no other
// interface here is in, and returns the first three bytes of it. Of two machines that
// take the same one at the same time, at least one sees the other and takes another.
func takeSubnet(ctx context.Context, link string) (string, error) {
	for try := 0; try < 100; try++ {
		var b [1]byte
		_, _ = rand.Read(b[:])
		subnet := fmt.Sprintf("10.231.%d.", b[0])
		if used, err := addressesIn(subnet); err != nil {
			return "", err
		} else if used > 0 {
			continue
		}
		if err := run(ctx, "ip", "addr", "add", subnet+"1/24", "dev", link); err != nil {
			return "", err
		}
		used, err := addressesIn(subnet)
		if err != nil || used == 1 {
			return subnet, err
		}
		if err := run(ctx, "ip", "addr", "del", subnet+"1/24", "dev", link); err != nil {
			return "", err
		}
	}
	return "", errors.New("no free network in 10.231.0.0/16")
}

// addressesIn is how many addresses of this machine begin with the bytes of a network.
func addressesIn(subnet string) (count int, err error) {
	addrs, err := net.InterfaceAddrs()
	for _, a := range addrs {
		if strings.HasPrefix(a.String(), subnet) {
			count++
		}
	}
	return count, err
}

// await waits for the machine's init and for its SSH server.
func (h *Host) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("its SSH server does not answer within three minutes"))
	defer cancel()
	for {
		d := net.Dialer{Timeout: time.Second}
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(h.IP, "22"))
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			banner, _ := bufio.NewReader(conn).ReadString('\n')
			_ = conn.Close()
			// Earlier, systemd-nspawn has another child, which makes the machine.
			h.leader = firstChild(firstChild(h.cmd.Process.Pid))
			if strings.HasPrefix(banner, "SSH-") && h.leader > 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-h.ended:
			h.ended <- err
			return fmt.Errorf("the machine ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// firstChild is the first process that pid started; 0 if there is none. The
// machine's init is the child of systemd-nspawn, the child of unshare.
func firstChild(pid int) int {
	if pid == 0 {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for _, field := range strings.Fields(string(data)) {
		if child, err := strconv.Atoi(field); err == nil {
			return child
		}
	}
	return 0
}

// Cut ends the network between here and the machine; connections do not learn
// of it. The far end is taken down: without the near one, this machine would
// look for another way.
func (h *Host) Cut(ctx context.Context) error { return h.set(ctx, "down") }

// Heal brings the network back, and waits until it carries something: for a moment after
// a long cut there is no route to the machine.
func (h *Host) Heal(ctx context.Context) error {
	if err := h.set(ctx, "up"); err != nil {
		return err
	}
	return h.await(ctx)
}

func (h *Host) set(ctx context.Context, state string) error {
	return run(ctx, "nsenter", "--target", strconv.Itoa(h.cmd.Process.Pid), "--net", "--", "ip", "link", "set", "host0", state)
}

// NewKnownHosts is the line of a known_hosts file that names a fresh key for a
// host: one that it does not have.
func NewKnownHosts(host string) (string, error) {
	k, err := newKey()
	if err != nil {
		return "", err
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey(k.public)
	if err != nil {
		return "", err
	}
	return knownhosts.Line([]string{host}, parsed) + "\n", nil
}
