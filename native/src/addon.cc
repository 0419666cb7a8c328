// SPDX-License-Identifier: Apache-2.0
/*
 * The addon: what Node cannot ask the kernel, and nothing that forks, blocks
 * or changes a container. Errors are negative errno values; TypeScript makes
 * Faults of them. Arguments are checked there too: this is no public API.
 */
#include <napi.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "batches.h"
#include "system.h"
#include "waits.h"

namespace {

int Int(const Napi::CallbackInfo &info, size_t index)
{
	return info[index].As<Napi::Number>().Int32Value();
}

Napi::Value Number(const Napi::CallbackInfo &info, int value)
{
	return Napi::Number::New(info.Env(), value);
}

/* Two descriptors as a list, or -errno. */
Napi::Value Pair(const Napi::CallbackInfo &info, int error, const int fds[2])
{
	if (error < 0)
		return Number(info, error);
	Napi::Array pair = Napi::Array::New(info.Env(), 2);
	pair.Set(0u, fds[0]);
	pair.Set(1u, fds[1]);
	return pair;
}

Napi::Value Pipe(const Napi::CallbackInfo &info)
{
	int fds[2];
	int ret = system_pipe(fds);

	return Pair(info, ret, fds);
}

/* socketPair(packets) */
Napi::Value SocketPair(const Napi::CallbackInfo &info)
{
	int fds[2];
	int ret = system_socketpair(info[0].As<Napi::Boolean>(), fds);

	return Pair(info, ret, fds);
}

/* pty(devpts): [master, slave] */
Napi::Value Pty(const Napi::CallbackInfo &info)
{
	int fds[2];
	int ret = system_pty(Int(info, 0), &fds[0], &fds[1]);

	return Pair(info, ret, fds);
}

Napi::Value CloseFd(const Napi::CallbackInfo &info)
{
	return Number(info, close(Int(info, 0)) < 0 ? -errno : 0);
}

Napi::Value SetWindowSize(const Napi::CallbackInfo &info)
{
	return Number(info, system_window_size(
				    Int(info, 0),
				    static_cast<unsigned short>(Int(info, 1)),
				    static_cast<unsigned short>(Int(info, 2))));
}

Napi::Value PeerCredentials(const Napi::CallbackInfo &info)
{
	ucred peer;
	int ret = system_peer(Int(info, 0), &peer);

	if (ret < 0)
		return Number(info, ret);
	Napi::Object object = Napi::Object::New(info.Env());
	object.Set("pid", peer.pid);
	object.Set("uid", peer.uid);
	object.Set("gid", peer.gid);
	return object;
}

/* connect(name): descriptor or -errno. */
Napi::Value Connect(const Napi::CallbackInfo &info)
{
	auto name = info[0].As<Napi::Buffer<char>>();

	return Number(info, system_connect(name.Data(), name.Length()));
}

/* sendFds(socket, data, fds) */
Napi::Value SendFds(const Napi::CallbackInfo &info)
{
	auto data = info[1].As<Napi::Buffer<char>>();
	auto list = info[2].As<Napi::Array>();
	std::vector<int> fds;

	for (uint32_t i = 0; i < list.Length(); i++)
		fds.push_back(list.Get(i).As<Napi::Number>().Int32Value());
	return Number(info, system_send_fds(Int(info, 0), data.Data(),
					    data.Length(), fds.data(),
					    static_cast<int>(fds.size())));
}

Napi::Value Notify(const Napi::CallbackInfo &info)
{
	std::string message = info[0].As<Napi::String>().Utf8Value();

	return Number(info, system_notify(message.c_str()));
}

Napi::Value SignalProcess(const Napi::CallbackInfo &info)
{
	return Number(info, system_signal(Int(info, 0), Int(info, 1)));
}

Napi::Value LiblxcVersion(const Napi::CallbackInfo &info)
{
	const char *version = system_liblxc_version();

	return Napi::String::New(info.Env(), version ? version : "");
}

Napi::Value HasApiExtension(const Napi::CallbackInfo &info)
{
	std::string name = info[0].As<Napi::String>().Utf8Value();

	return Napi::Boolean::New(info.Env(), system_liblxc_has(name.c_str()));
}

struct Export {
	const char *name;
	Napi::Value (*fn)(const Napi::CallbackInfo &info);
};

const Export kExports[] = {
	{ "pipe", Pipe },
	{ "socketPair", SocketPair },
	{ "pty", Pty },
	{ "closeFd", CloseFd },
	{ "setWindowSize", SetWindowSize },
	{ "peerCredentials", PeerCredentials },
	{ "connect", Connect },
	{ "sendFds", SendFds },
	{ "notify", Notify },
	{ "signalProcess", SignalProcess },
	{ "liblxcVersion", LiblxcVersion },
	{ "hasApiExtension", HasApiExtension },
	{ "exchange", Exchange },
	{ "waitGone", WaitGone },
	{ "readFiles", ReadFiles },
	{ "interfaces", Interfaces },
};

Napi::Object Init(Napi::Env env, Napi::Object exports)
{
	for (const Export &each : kExports)
		exports.Set(each.name,
			    Napi::Function::New(env, each.fn, each.name));
	return exports;
}

} // namespace

NODE_API_MODULE(slipway, Init)
