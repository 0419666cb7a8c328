// SPDX-License-Identifier: Apache-2.0
#include "waits.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "system.h"
#include "wait.h"

namespace {

constexpr unsigned int kConnectRetryMs = 5;
constexpr size_t kHeadSize = 16;
constexpr int kMaxFds = 8;

/* liblxc's answer on x86-64 and arm64: int ret, int datalen, 8 bytes of value. */
struct Head {
	int32_t ret;
	int32_t datalen;
	int64_t value;
};
static_assert(sizeof(Head) == kHeadSize, "the wire format has 16 bytes");

class ExchangeWait : public Wait {
public:
	ExchangeWait(Napi::Env env, std::string name, std::string request,
		     size_t max_reply, bool keep)
		: Wait(env, "slipway:exchange"), name_(std::move(name)),
		  request_(std::move(request)), max_reply_(max_reply),
		  keep_(keep)
	{
	}

protected:
	~ExchangeWait() override
	{
		for (int fd : fds_)
			close(fd);
	}

	void Begin() override
	{
		int fd = system_connect(name_.data(), name_.size());

		/* The queue of the listening socket is full: it is being slow. */
		if (fd == -EAGAIN)
			return Retry(kConnectRetryMs);
		if (fd < 0)
			return Fail(fd);
		int ret = Watch(fd, UV_WRITABLE);
		if (ret < 0)
			return Fail(ret);
		socket_ = fd;
		Step();
	}

	void Step() override
	{
		int ret = sent_ < request_.size() ? Send() : Receive();

		if (ret < 0 && ret != -EAGAIN)
			Fail(ret);
	}

	void Deadline() override { Fail(-ETIMEDOUT); }

	Napi::Value Result(Napi::Env env) override
	{
		Napi::Object result = Napi::Object::New(env);

		result.Set("error", -error_);
		if (error_ < 0)
			return result;
		Napi::Array fds = Napi::Array::New(env);
		for (size_t i = 0; i < fds_.size(); i++)
			fds.Set(static_cast<uint32_t>(i), fds_[i]);
		fds_.clear();
		result.Set("ret", head_.ret);
		result.Set("value", static_cast<double>(head_.value));
		result.Set("data", Napi::Buffer<char>::Copy(env, data_.data(),
							    data_.size()));
		result.Set("fds", fds);
		result.Set("connection", keep_ ? Release() : -1);
		return result;
	}

private:
	void Fail(int error)
	{
		error_ = error;
		Finish();
	}

	int Send()
	{
		ssize_t put = send(socket_, request_.data() + sent_,
				   request_.size() - sent_,
				   MSG_NOSIGNAL | MSG_DONTWAIT);

		if (put < 0)
			return -errno;
		sent_ += static_cast<size_t>(put);
		return sent_ == request_.size() ? Change(UV_READABLE) : 0;
	}

	int Receive()
	{
		for (;;) {
			bool in_head = got_ < kHeadSize;
			char *to = in_head ?
				reinterpret_cast<char *>(&head_) + got_ :
				data_.data() + (got_ - kHeadSize);
			size_t want = in_head ? kHeadSize - got_ :
				data_.size() - (got_ - kHeadSize);
			if (want == 0) {
				Finish();
				return 0;
			}
			ssize_t got = ReceiveSome(to, want);
			if (got < 0)
				return static_cast<int>(got);
			/* The monitor ends the connection when it refuses. */
			if (got == 0)
				return -ECONNRESET;
			got_ += static_cast<size_t>(got);
			if (got_ == kHeadSize && !TakeLength())
				return -EMSGSIZE;
		}
	}

	bool TakeLength()
	{
		if (head_.datalen < 0 ||
		    static_cast<size_t>(head_.datalen) > max_reply_)
			return false;
		data_.resize(static_cast<size_t>(head_.datalen));
		return true;
	}

	ssize_t ReceiveSome(char *to, size_t want)
	{
		alignas(cmsghdr) char control[256];
		iovec iov = { to, want };
		msghdr message = {};

		message.msg_iov = &iov;
		message.msg_iovlen = 1;
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		ssize_t got = recvmsg(socket_, &message,
				      MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (got < 0)
			return -errno;
		TakeFds(message);
		return got;
	}

	void TakeFds(msghdr &message)
	{
		for (cmsghdr *head = CMSG_FIRSTHDR(&message); head;
		     head = CMSG_NXTHDR(&message, head)) {
			if (head->cmsg_level != SOL_SOCKET ||
			    head->cmsg_type != SCM_RIGHTS)
				continue;
			size_t count = (head->cmsg_len - CMSG_LEN(0)) /
				       sizeof(int);
			int fds[kMaxFds * 4];
			memcpy(fds, CMSG_DATA(head), count * sizeof(int));
			for (size_t i = 0; i < count; i++) {
				if (fds_.size() < kMaxFds)
					fds_.push_back(fds[i]);
				else
					close(fds[i]);
			}
		}
	}

	std::string name_;
	std::string request_;
	size_t max_reply_;
	bool keep_;
	size_t sent_ = 0;
	size_t got_ = 0;
	Head head_ = {};
	std::vector<char> data_;
	std::vector<int> fds_;
	int socket_ = -1;
	int error_ = 0;
};

class GoneWait : public Wait {
public:
	GoneWait(Napi::Env env, pid_t pid) : Wait(env, "slipway:gone"), pid_(pid)
	{
	}

protected:
	void Begin() override
	{
		int fd = system_pidfd(pid_);
		int ret = fd < 0 ? fd : Watch(fd, UV_READABLE);

		if (ret < 0)
			End(ret == -ESRCH ? 1 : ret);
	}

	void Step() override { End(1); }
	void Deadline() override { End(0); }

	Napi::Value Result(Napi::Env env) override
	{
		return Napi::Number::New(env, result_);
	}

private:
	void End(int result)
	{
		result_ = result;
		Finish();
	}

	pid_t pid_;
	int result_ = 0;
};

} // namespace

Napi::Value Exchange(const Napi::CallbackInfo &info)
{
	auto name = info[0].As<Napi::Buffer<char>>();
	auto request = info[1].As<Napi::Buffer<char>>();
	auto max_reply = info[2].As<Napi::Number>().Int64Value();

	auto *wait = new ExchangeWait(
		info.Env(), std::string(name.Data(), name.Length()),
		std::string(request.Data(), request.Length()),
		static_cast<size_t>(max_reply),
		info[3].As<Napi::Boolean>());
	return wait->Start(info[4].As<Napi::Number>().DoubleValue());
}

Napi::Value WaitGone(const Napi::CallbackInfo &info)
{
	auto *wait = new GoneWait(info.Env(),
				  info[0].As<Napi::Number>().Int32Value());

	return wait->Start(info[1].As<Napi::Number>().DoubleValue());
}
