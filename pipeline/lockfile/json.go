package lockfile

import "strings"

// strictJSON takes comments and trailing commas out of JSON; strings stay as they
// are.
func strictJSON(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			end := endOfString(data, i)
			out = append(out, data[i:end]...)
			i = end - 1
		case c == '/' && i+1 < len(data) && (data[i+1] == '/' || data[i+1] == '*'):
			i = endOfComment(data, i) - 1
		case c == '}' || c == ']':
			out = append(dropComma(out), c)
		default:
			out = append(out, c)
		}
	}
	return out
}

func endOfString(data []byte, start int) int {
	for i := start + 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

func endOfComment(data []byte, start int) int {
	end, rest := "\n", string(data[start+2:])
	if data[start+1] == '*' {
		end = "*/"
	}
	if i := strings.Index(rest, end); i >= 0 {
		return start + 2 + i + len(end)
	}
	return len(data)
}

func dropComma(out []byte) []byte {
	trimmed := strings.TrimRight(string(out), " \t\r\n")
	if strings.HasSuffix(trimmed, ",") {
		return out[:len(trimmed)-1]
	}
	return out
}
